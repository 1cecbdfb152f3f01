import { setTimeout as sleep } from 'node:timers/promises';
import {
  ChangeGate,
  type Clock,
  type Frame,
  type Logger,
  type SceneInput,
  systemClock,
  type VisionLanguageModel,
} from 'scenebus';
import type { CameraFeed } from '../app/camera-feed.js';
import type { ModelSupervisor } from '../app/model-supervisor.js';
import type { Scheduler } from '../app/scheduler.js';
import type { DeviceConfig } from '../config/schema.js';
import type { Problems } from '../events/problems.js';
import type { UsageTotals } from './usage-totals.js';

export interface SceneWatcherOptions {
  readonly feed: CameraFeed;
  readonly settings: DeviceConfig['describe'];
  readonly model: ModelSupervisor;
  readonly scheduler: Scheduler;
  readonly usage: UsageTotals;
  readonly problems: Problems;
  readonly logger: Logger;
  readonly publishScene: (cameraId: string, scene: SceneInput) => Promise<unknown>;
  readonly clock?: Clock | undefined;
}

/** Looks for changes a second: a person walks a third of a picture in that time. */
const LOOKS_PER_SECOND = 4;
/** After a description that failed, for whatever reason. */
const PAUSE_AFTER_FAILURE_MS = 2_000;

type Trigger = NonNullable<SceneInput['trigger']>;

/** Describes what one camera sees whenever it changed enough, and now and then when it did not. */
export class SceneWatcher implements AsyncDisposable {
  readonly #options: SceneWatcherOptions;
  readonly #gate: ChangeGate;
  readonly #stop = new AbortController();
  readonly #clock: Clock;
  #describedAtMs: number | undefined;
  #watching: Promise<void> | undefined;

  private constructor(options: SceneWatcherOptions) {
    const { change } = options.settings;
    this.#options = options;
    this.#gate = new ChangeGate({ meanThreshold: change.mean, blockThreshold: change.block });
    this.#clock = options.clock ?? systemClock;
  }

  static start(options: SceneWatcherOptions): SceneWatcher {
    const watcher = new SceneWatcher(options);
    watcher.#watching = watcher.#watch();
    return watcher;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }

  async #watch(): Promise<void> {
    const { feed, problems, logger } = this.#options;
    const { signal } = this.#stop;
    const part = `descriptions/${feed.id}`;
    while (!signal.aborted && !feed.hasFailed) {
      try {
        // While a description runs the loop does not ask: what it is given next is the newest frame again.
        for await (const frame of feed.frames(LOOKS_PER_SECOND, signal)) {
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

  #triggerFor(frame: Frame): Trigger | undefined {
    const { minIntervalSeconds, maxSilenceSeconds } = this.#options.settings;
    if (this.#describedAtMs === undefined) return 'first';
    const silenceSeconds = (this.#clock.monotonicMs() - this.#describedAtMs) / 1000;
    if (silenceSeconds < minIntervalSeconds) return undefined;
    if (this.#gate.measure(frame).changed) return 'change';
    return silenceSeconds >= maxSilenceSeconds ? 'interval' : undefined;
  }

  async #describe(known: Frame, trigger: Trigger): Promise<void> {
    const { feed, settings, model, scheduler, usage, publishScene } = this.#options;
    const scene = await scheduler.description(async (signal) => {
      const frame = await feed.newerThan(known, signal);
      const options = { maxNewTokens: settings.maxNewTokens, signal };
      const describe = async (loaded: VisionLanguageModel) => ({
        answer: await loaded.describe(frame, options),
        model: { id: loaded.info.name, hash: loaded.info.contentHash },
      });
      return { frame, trigger, ...(await model.use(describe, signal)) };
    }, this.#stop.signal);
    usage.add(scene.answer.usage);
    this.#gate.accept(scene.frame);
    this.#describedAtMs = this.#clock.monotonicMs();
    await publishScene(feed.id, scene);
  }
}
