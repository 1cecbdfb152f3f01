/** Watches: standing questions. Asked while the device runs, told of when their answer changes. */
import type { AnswerValue, Bus, FrameReference, WatchChanges, WatchDefinition, WatchReport } from 'scenebus/bus';
import type { CameraSettings } from '../camera-settings.js';
import type { FeatureContext, ReconfigurableFeature } from '../context.js';
import { CameraWatcher } from './camera-watcher.js';
import { type ListedWatch, WatchList } from './watch-list.js';

export interface WatchesOptions {
  readonly context: FeatureContext;
  readonly settings: CameraSettings;
  /** Where watches are added, changed and removed. */
  readonly verbs: Pick<Bus, 'handle'>;
  /** What survives a restart is kept there; undefined: nothing does. */
  readonly file: string | undefined;
}

/** A watch and how it stands, with what the bus does not tell. */
export interface WatchStanding extends ListedWatch {
  readonly cameras: readonly {
    readonly camera: string;
    readonly value: AnswerValue | null;
    /** Of the value, as it was last measured. */
    readonly probability: number | null;
    readonly eventId: string | null;
    /** Unix time, milliseconds, since when the value is this one; null before the first answer. */
    readonly sinceMs: number | null;
    /** What the value rests on. */
    readonly frame: FrameReference | null;
    /** false: outside of its hours, paused, or switched off for this camera. */
    readonly isActive: boolean;
  }[];
}

/** The watches of this device, for those within this process. Rejects as the verbs of the bus do. */
export interface StandingWatches {
  readonly all: readonly WatchStanding[];
  /** @throws SdkError ERR_REQUEST_INVALID for an id that is taken or a camera that is not there, ERR_LIMIT_EXCEEDED */
  add(watch: WatchDefinition): Promise<WatchStanding>;
  /** @throws SdkError ERR_REQUEST_INVALID for a watch that is not there, or is in the configuration */
  change(id: string, changes: WatchChanges): Promise<WatchStanding>;
  /** @throws SdkError ERR_REQUEST_INVALID as `change` */
  remove(id: string): Promise<void>;
}

export async function startWatches(options: WatchesOptions): Promise<ReconfigurableFeature & StandingWatches> {
  const { context, file } = options;
  const cameras = () => context.feeds.map(({ id }) => id);
  const { logger, problems } = context;
  const list = await WatchList.open({ configured: context.config.watches, cameras, file, logger, problems });
  const watches = new Watches(options, list);
  watches.begin();
  watches.tell();
  return watches;
}

class Watches implements ReconfigurableFeature, StandingWatches {
  readonly #options: WatchesOptions;
  readonly #list: WatchList;
  readonly #stops: readonly (() => void)[];
  #watchers: CameraWatcher[] = [];

  constructor(options: WatchesOptions, list: WatchList) {
    const { settings, verbs } = options;
    this.#options = options;
    this.#list = list;
    list.findings = () =>
      this.#findings.flatMap(({ seen, isActive: _, ...finding }) =>
        seen === undefined ? [] : [{ ...finding, ...seen }],
      );
    this.#stops = [
      list.onChange(() => {
        this.#refresh();
        this.tell();
      }),
      settings.onChange(() => this.#refresh()),
      verbs.handle('watch/add', async ({ watch }) => ({ watch: reportOf(await this.add(watch)) })),
      verbs.handle('watch/change', async ({ id, changes }) => ({ watch: reportOf(await this.change(id, changes)) })),
      verbs.handle('watch/remove', async ({ id }) => {
        await this.remove(id);
        return { id };
      }),
      verbs.handle('watch/list', async () => ({ watches: this.all.map(reportOf) })),
    ];
  }

  get all(): readonly WatchStanding[] {
    return this.#list.all.map((listed) => this.#standingOf(listed));
  }

  async add(watch: WatchDefinition): Promise<WatchStanding> {
    return this.#standingOf(await this.#list.add(watch));
  }

  async change(id: string, changes: WatchChanges): Promise<WatchStanding> {
    return this.#standingOf(await this.#list.change(id, changes));
  }

  async remove(id: string): Promise<void> {
    await this.#list.remove(id);
    await this.#tellRemoved(id);
  }

  /** What is to go on as it was is left alone: it knows what it has found. */
  async reconfigure(): Promise<void> {
    const { config, feeds } = this.#options.context;
    const gone = this.#list.configure(config.watches);
    const leaving = this.#watchers.filter(({ feed }) => !feeds.includes(feed));
    this.#watchers = this.#watchers.filter(({ feed }) => feeds.includes(feed));
    for (const watcher of leaving) {
      watcher.end();
      await watcher[Symbol.asyncDispose]();
    }
    this.begin();
    this.#refresh();
    this.tell();
    for (const id of gone) await this.#tellRemoved(id);
    await this.#list.keep();
  }

  begin(): void {
    const { context, settings } = this.#options;
    for (const feed of context.feeds) {
      if (this.#watchers.some((watcher) => watcher.feed === feed)) continue;
      const watcher = new CameraWatcher({ context, feed, list: this.#list, settings });
      this.#watchers.push(watcher);
      watcher.start();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops) stop();
    for (const watcher of this.#watchers) await watcher[Symbol.asyncDispose]();
    await this.#list.keep();
    await this.#list[Symbol.asyncDispose]();
  }

  get #findings() {
    return this.#watchers.flatMap(({ findings }) => findings);
  }

  #refresh(): void {
    for (const watcher of this.#watchers) watcher.refresh();
  }

  /** Which watches there are. */
  tell(): void {
    const watches = this.#list.all.map(({ watch }) => watch);
    void this.#options.context.hub.emit('watches', { watches }, { isKept: false });
  }

  async #tellRemoved(watch: string): Promise<void> {
    await this.#options.context.hub.emit('watchState', { watch, state: null }, { isKept: false });
  }

  #standingOf({ watch, origin }: ListedWatch): WatchStanding {
    const cameras = this.#findings
      .filter((finding) => finding.watch === watch.id)
      .map(({ camera, seen, isActive, state: { value, probability, sinceMs, event } }) => ({
        camera,
        value,
        probability,
        eventId: event?.id ?? null,
        sinceMs: value === null ? null : sinceMs,
        frame: seen?.frame ?? null,
        isActive,
      }));
    return { watch, origin, cameras };
  }
}

function reportOf({ watch, origin, cameras }: WatchStanding): WatchReport {
  const told = cameras.map(({ camera, value, probability, eventId }) => ({ camera, value, probability, eventId }));
  return { watch, origin, cameras: told };
}
