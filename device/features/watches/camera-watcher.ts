/** The standing questions of one camera. All that are due look at the same frame, one after another. */
import { randomUUID } from 'node:crypto';
import { ChangeGate, type Frame, type FrameGlance, type GroundedObject } from 'scenebus';
import type { FrameReference, ModelReference, WatchDefinition } from 'scenebus/bus';
import type { CameraSettings } from '../camera-settings.js';
import type { FeatureContext, Feed } from '../context.js';
import { descriptionSettings } from '../describe.js';
import { isWithin } from '../schedule.js';
import { isDue } from './due.js';
import { evidenceOf } from './evidence.js';
import { type Change, Finding } from './finding.js';
import { look } from './look.js';
import type { KeptFinding, WatchList } from './watch-list.js';

/** For changes a second. */
const LOOKS_PER_SECOND = 4;
/** After a failure, of the camera or of one watch. */
const PAUSE_AFTER_FAILURE_MS = 2_000;
/** While no watch has its hours: how late one may begin. */
const IDLE_MS = 5_000;

interface Seen {
  readonly frame: FrameReference;
  readonly model: ModelReference;
}

interface Entry {
  readonly watch: WatchDefinition;
  readonly finding: Finding;
  isActive: boolean;
  /** Something has changed since it was asked. */
  isStale: boolean;
  askedAtMs: number | undefined;
  notBeforeMs: number;
  isStateTold: boolean;
  /** What its value rests on. */
  seen: Seen | undefined;
}

export interface CameraWatcherOptions {
  readonly context: FeatureContext;
  readonly feed: Feed;
  readonly list: WatchList;
  readonly settings: CameraSettings;
}

export class CameraWatcher implements AsyncDisposable {
  readonly #options: CameraWatcherOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #gate: ChangeGate;
  readonly #stop = new AbortController();
  #wake: () => void = () => {};
  #running: Promise<void> | undefined;

  constructor(options: CameraWatcherOptions) {
    const { change } = descriptionSettings(options.context.config, options.feed.config);
    this.#options = options;
    this.#gate = new ChangeGate({ meanThreshold: change.mean, blockThreshold: change.block });
    this.refresh();
  }

  /** Follows the camera until it is disposed. */
  start(): void {
    this.#running ??= this.#follow();
  }

  get feed(): Feed {
    return this.#options.feed;
  }

  /** Its camera is gone: what lasts ends. */
  end(): void {
    for (const entry of this.#entries.values()) this.#close(entry);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#wake();
    await this.#running;
    for (const entry of this.#entries.values()) this.#options.context.problems.clear(this.#partOf(entry));
    this.#options.context.problems.clear(this.#part);
  }

  /** How its watches stand, for reports and for a restart. */
  get findings(): readonly (Omit<KeptFinding, 'frame' | 'model'> & Pick<Entry, 'seen' | 'isActive'>)[] {
    const camera = this.#options.feed.id;
    return [...this.#entries.values()].map(({ watch, finding, seen, isActive }) => ({
      watch: watch.id,
      camera,
      question: watch.question,
      state: finding.state,
      seen,
      isActive,
    }));
  }

  /** Takes over what has changed: the list, the settings, the hour. */
  refresh(): void {
    const { list, feed } = this.#options;
    const wanted = new Map(
      list.all.filter(({ watch }) => watch.cameras?.includes(feed.id) ?? true).map(({ watch }) => [watch.id, watch]),
    );
    for (const [id, entry] of this.#entries) {
      if (wanted.get(id) === entry.watch) continue;
      this.#close(entry);
      this.#options.context.problems.clear(this.#partOf(entry));
      this.#entries.delete(id);
    }
    for (const [id, watch] of wanted) if (!this.#entries.has(id)) this.#entries.set(id, this.#enter(watch));
    for (const entry of this.#entries.values()) {
      const isActive = this.#isActive(entry.watch);
      if (entry.isActive && !isActive) this.#close(entry);
      if (!entry.isActive && isActive) entry.isStale = true;
      entry.isActive = isActive;
    }
    this.#wake();
  }

  /** Asks what is due about this frame. */
  async look(frame: Frame): Promise<void> {
    const { context, feed } = this.#options;
    this.refresh();
    const active = [...this.#entries.values()].filter(({ isActive }) => isActive);
    const onChange = active.filter(({ watch }) => watch.intervalSeconds === undefined);
    if (onChange.length > 0 && this.#gate.update(frame).changed) for (const entry of onChange) entry.isStale = true;
    const due = active.filter((entry) => this.#isDue(entry));
    if (due.length === 0) return;
    void context.hub.emit('frame', { frame }, { camera: feed.id, frame });
    // Those that look at the whole frame share its encoding and their prompts' beginning.
    const whole = due.filter(({ watch }) => watch.region === undefined);
    for (const entry of [...whole, ...due.filter(({ watch }) => watch.region !== undefined)]) {
      if (this.#stop.signal.aborted) return;
      await this.#ask(entry, frame);
    }
  }

  /** Nothing is to be asked about what is seen at a glance. */
  #isUneventful(glance: FrameGlance): boolean {
    const { context } = this.#options;
    this.refresh();
    const active = [...this.#entries.values()].filter(({ isActive }) => isActive);
    if (active.length === 0 || active.some((entry) => this.#isDue(entry))) return false;
    const hasOnChange = active.some(({ watch }) => watch.intervalSeconds === undefined);
    if (hasOnChange && this.#gate.measure(glance).changed) return false;
    context.problems.clear(this.#part);
    return true;
  }

  async #follow(): Promise<void> {
    const { context, feed } = this.#options;
    const { signal } = this.#stop;
    const part = this.#part;
    while (!signal.aborted && !feed.hasFailed) {
      this.refresh();
      if (!this.#hasActive) {
        await this.#pause(IDLE_MS);
        continue;
      }
      try {
        const skip = (glance: FrameGlance) => this.#isUneventful(glance);
        for await (const frame of feed.frames({ maxFps: LOOKS_PER_SECOND, signal, skip })) {
          await this.look(frame);
          context.problems.clear(part);
          if (!this.#hasActive) break;
        }
        // The clip is over: what is asked from now on is about its last frame.
        if (this.#hasActive && !signal.aborted) {
          const isNew = ({ isActive, askedAtMs }: Entry) => isActive && askedAtMs === undefined;
          if ([...this.#entries.values()].some(isNew)) await this.look(await feed.latestFrame({ signal }));
          await this.#pause(IDLE_MS);
        }
      } catch (error) {
        if (signal.aborted) return;
        context.problems.report(part, error);
        await this.#pause(PAUSE_AFTER_FAILURE_MS);
      }
    }
  }

  async #ask(entry: Entry, frame: Frame): Promise<void> {
    const { context, feed } = this.#options;
    const { watch } = entry;
    const { signal } = this.#stop;
    const call = { signal, caller: `watch/${feed.id}` };
    entry.askedAtMs = context.monotonicMs();
    try {
      await context.model.use(async (model) => {
        const { model: reference, text, objects, ...found } = await look(model, frame, watch, call);
        // It was taken away, or its hours are over, while the model looked.
        if (this.#entries.get(watch.id) !== entry || !entry.isActive) return;
        entry.isStale = false;
        const change = entry.finding.take(found);
        if (change !== undefined || entry.seen === undefined)
          entry.seen = { frame: referenceTo(frame), model: reference };
        if (change?.event !== undefined) {
          const verify = watch.verify ?? context.config.ask.verify;
          const isOver = change.event.type === 'end';
          const boxes = isOver ? objects : await evidenceOf(model, frame, watch, objects, { ...call, verify });
          const tracked = context.tracks.find(feed.id, frame, boxes);
          const located = await context.places.locate(feed.config, frame, tracked);
          await this.#tellEvent(entry, change, { text, objects: located });
        }
        if (change !== undefined || !entry.isStateTold) await this.#tellState(entry);
      }, signal);
      context.problems.clear(this.#partOf(entry));
    } catch (error) {
      if (signal.aborted) return;
      entry.notBeforeMs = context.monotonicMs() + PAUSE_AFTER_FAILURE_MS;
      entry.isStale = true;
      context.problems.report(this.#partOf(entry), error);
    }
  }

  #enter(watch: WatchDefinition): Entry {
    const { list, feed, context } = this.#options;
    const kept = list.takeRestored(watch, feed.id);
    const wallMs = () => context.now().getTime();
    return {
      watch,
      finding: new Finding(watch, {
        monotonicMs: context.monotonicMs,
        wallMs,
        createEventId: randomUUID,
        state: kept?.state,
      }),
      isActive: kept?.state.event != null,
      isStale: true,
      askedAtMs: undefined,
      notBeforeMs: Number.NEGATIVE_INFINITY,
      isStateTold: false,
      seen: kept && { frame: kept.frame, model: kept.model },
    };
  }

  /** Ends what lasts. */
  #close(entry: Entry): void {
    const change = entry.finding.close();
    entry.askedAtMs = undefined;
    if (entry.seen === undefined) return;
    if (change !== undefined) void this.#tellEvent(entry, change, { text: undefined, objects: [] });
    void this.#tellState(entry);
  }

  async #tellEvent(
    { watch, seen }: Entry,
    { event, value, previous, probability }: Change,
    evidence: { readonly text: string | undefined; readonly objects: readonly GroundedObject[] },
  ): Promise<void> {
    const { context, feed } = this.#options;
    const { type, id: eventId, startedAtMs } = event!;
    const { frame, model } = seen!;
    const { id, question, answerType } = watch;
    const what = { watch: id, eventId, type, question, answerType, value, previous, probability, startedAtMs };
    await context.hub.emit('watch', { frame, model, ...what, evidence }, { camera: feed.id, frame });
  }

  async #tellState(entry: Entry): Promise<void> {
    const { context, feed, list } = this.#options;
    const { id: watch, question, answerType } = entry.watch;
    const { value, probability, event, sinceMs } = entry.finding.state;
    const state = { ...entry.seen!, question, answerType, value, probability, sinceMs, eventId: event?.id ?? null };
    entry.isStateTold = true;
    await context.hub.emit(
      'watchState',
      { watch, state },
      { camera: feed.id, frame: entry.seen!.frame, isKept: false },
    );
    await list.keep();
  }

  get #hasActive(): boolean {
    return [...this.#entries.values()].some(({ isActive }) => isActive);
  }

  #isActive({ enabled = true, schedule }: WatchDefinition): boolean {
    const { context, settings, feed } = this.#options;
    const isOn = settings.isOn(feed.id, 'watches') && !settings.isOn(feed.id, 'privacy');
    return enabled && isOn && isWithin(schedule, context.now());
  }

  #isDue({ watch, finding, isStale, askedAtMs, notBeforeMs }: Entry): boolean {
    const nowMs = this.#options.context.monotonicMs();
    if (nowMs < notBeforeMs) return false;
    return isDue(watch, { isStale, isUnsettled: finding.isUnsettled, askedAtMs }, nowMs);
  }

  get #part(): string {
    return `watches/${this.#options.feed.id}`;
  }

  #partOf({ watch }: Entry): string {
    return `watch/${watch.id}/${this.#options.feed.id}`;
  }

  async #pause(ms: number): Promise<void> {
    if (this.#stop.signal.aborted) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
    this.#wake = () => {};
  }
}

function referenceTo({ id, capturedAtMs, width, height }: Frame): FrameReference {
  return { id, capturedAtMs, width, height };
}
