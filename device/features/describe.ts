/** Descriptions of what cameras see: whenever it changed enough, and now and then when it did not. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { ChangeGate, type Frame, type FrameGlance } from 'scenebus';
import type { SceneInput } from 'scenebus/bus';
import type { CameraConfig, DeviceConfig } from '../config/schema.js';
import { modelOf } from './answering-model.js';
import type { CameraSettings } from './camera-settings.js';
import type { FeatureContext, Feed, ReconfigurableFeature } from './context.js';
import { isWithin } from './schedule.js';
import { withObjects } from './writing.js';

/** Looks for changes a second: a person walks a third of a picture in that time. */
const LOOKS_PER_SECOND = 4;
/** After a description that failed, for whatever reason. */
const PAUSE_AFTER_FAILURE_MS = 2_000;

type Trigger = NonNullable<SceneInput['trigger']>;

/** Describes every camera whose configuration wants it, until it is disposed. */
export function startDescribe(context: FeatureContext, settings?: CameraSettings): ReconfigurableFeature {
  const describing = new Describing(context, settings);
  describing.begin();
  return describing;
}

class Describing implements ReconfigurableFeature {
  readonly #context: FeatureContext;
  readonly #settings: CameraSettings | undefined;
  readonly #stopListening: () => void;
  #describers: SceneDescriber[] = [];
  #changing: Promise<void> = Promise.resolve();

  constructor(context: FeatureContext, settings: CameraSettings | undefined) {
    this.#context = context;
    this.#settings = settings;
    this.#stopListening = settings?.onChange(() => void this.reconfigure()) ?? (() => {});
  }

  /** What is to go on as it was is left alone: it knows what it has described already. */
  reconfigure(): Promise<void> {
    this.#changing = this.#changing.then(() => this.#change());
    return this.#changing;
  }

  async #change(): Promise<void> {
    const { config, feeds } = this.#context;
    const isAsBefore = ({ feed, settings }: SceneDescriber) =>
      feeds.includes(feed) &&
      this.#isDescribed(feed) &&
      isDeepStrictEqual(settings, descriptionSettings(config, feed.config));
    const leaving = this.#describers.filter((describer) => !isAsBefore(describer));
    this.#describers = this.#describers.filter(isAsBefore);
    await Promise.all(leaving.map((describer) => describer[Symbol.asyncDispose]()));
    for (const { feed } of leaving) this.#context.tracks.end(feed.id);
    this.begin();
  }

  begin(): void {
    const isDescribed = new Set(this.#describers.map(({ feed }) => feed));
    for (const feed of this.#context.feeds)
      if (this.#isDescribed(feed) && !isDescribed.has(feed))
        this.#describers.push(SceneDescriber.start(this.#context, feed));
  }

  /** As it is switched at the moment. */
  #isDescribed(feed: Feed): boolean {
    const settings = this.#settings;
    if (settings === undefined) return feed.config.describe;
    return settings.isOn(feed.id, 'describe') && !settings.isOn(feed.id, 'privacy');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopListening();
    await this.#changing;
    await Promise.all(this.#describers.map((describer) => describer[Symbol.asyncDispose]()));
  }
}

export type DescriptionSettings = Omit<DeviceConfig['describe'], 'expirySeconds'> & Pick<CameraConfig, 'schedule'>;

/** What holds for one camera: its own settings before those for all. */
export function descriptionSettings(
  { describe }: Pick<DeviceConfig, 'describe'>,
  own: CameraConfig,
): DescriptionSettings {
  return {
    prompt: own.prompt ?? describe.prompt,
    minIntervalSeconds: own.minIntervalSeconds ?? describe.minIntervalSeconds,
    maxSilenceSeconds: own.maxSilenceSeconds ?? describe.maxSilenceSeconds,
    change: { mean: own.change?.mean ?? describe.change.mean, block: own.change?.block ?? describe.change.block },
    maxNewTokens: describe.maxNewTokens,
    objects: describe.objects,
    verify: describe.verify,
    schedule: own.schedule,
  };
}

/** One camera. What is described is the frame that gave the reason for it. */
class SceneDescriber implements AsyncDisposable {
  readonly feed: Feed;
  readonly settings: DescriptionSettings;
  readonly #context: FeatureContext;
  readonly #gate: ChangeGate;
  readonly #stop = new AbortController();
  #describedAtMs: number | undefined;
  #watching: Promise<void> | undefined;

  private constructor(context: FeatureContext, feed: Feed) {
    this.#context = context;
    this.feed = feed;
    this.settings = descriptionSettings(context.config, feed.config);
    const { change } = this.settings;
    this.#gate = new ChangeGate({ meanThreshold: change.mean, blockThreshold: change.block });
  }

  static start(context: FeatureContext, feed: Feed): SceneDescriber {
    const describer = new SceneDescriber(context, feed);
    describer.#watching = describer.#watch();
    return describer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#watching;
    this.#context.problems.clear(this.#part);
  }

  get #part(): string {
    return `descriptions/${this.feed.id}`;
  }

  async #watch(): Promise<void> {
    const { problems, logger } = this.#context;
    const { signal } = this.#stop;
    const feed = this.feed;
    const part = this.#part;
    while (!signal.aborted && !feed.hasFailed) {
      try {
        // While a description runs the loop does not ask: what it is given next is the newest frame again.
        const skip = (glance: FrameGlance) => this.#triggerFor(glance) === undefined;
        for await (const frame of feed.frames({ maxFps: LOOKS_PER_SECOND, signal, skip })) {
          const trigger = this.#triggerFor(frame);
          if (trigger === undefined) continue;
          await this.#describe(frame, trigger);
          problems.clear(part);
        }
        return; // the clip is over
      } catch (error) {
        if (signal.aborted) return;
        problems.report(part, error);
        logger.log('debug', `camera ${feed.id}: no description`, { error });
        await sleep(PAUSE_AFTER_FAILURE_MS, undefined, { signal }).catch(() => {});
      }
    }
  }

  #triggerFor(frame: Frame | FrameGlance): Trigger | undefined {
    const { monotonicMs, now } = this.#context;
    const { minIntervalSeconds, maxSilenceSeconds, schedule } = this.settings;
    if (!isWithin(schedule, now())) return undefined;
    if (this.#describedAtMs === undefined) return 'first';
    const silenceSeconds = (monotonicMs() - this.#describedAtMs) / 1000;
    if (silenceSeconds < minIntervalSeconds) return undefined;
    if (this.#gate.measure(frame).changed) return 'change';
    return silenceSeconds >= maxSilenceSeconds ? 'interval' : undefined;
  }

  async #describe(frame: Frame, trigger: Trigger): Promise<void> {
    const { model, hub, tracks, places, monotonicMs } = this.#context;
    const camera = this.feed.id;
    const { signal } = this.#stop;
    const { maxNewTokens, prompt, objects, verify } = this.settings;
    const options = { maxNewTokens, verify, signal, priority: 'description', caller: camera } as const;
    const result = await model.use(async (loaded) => {
      void hub.emit('frame', { frame }, { camera, frame });
      const text = await (prompt === undefined ? loaded.describe(frame, options) : loaded.ask(frame, prompt, options));
      const answer = objects ? await withObjects(loaded, frame, text, options) : text;
      return {
        answer,
        // Without a list nobody knows what is gone.
        isWhole: objects && loaded.info.writesBoxes,
        model: modelOf(loaded, text),
      };
    }, signal);
    this.#gate.accept(frame);
    this.#describedAtMs = monotonicMs();
    const { answer, isWhole, model: reference } = result;
    const followed = isWhole ? tracks.follow(camera, frame, answer.objects) : { objects: answer.objects, ended: [] };
    const located = await places.locate(this.feed.config, frame, followed.objects);
    const scene = { answer: { ...answer, objects: located }, endedTracks: followed.ended };
    await hub.emit('scene', { frame, trigger, model: reference, ...scene }, { camera, frame });
  }
}
