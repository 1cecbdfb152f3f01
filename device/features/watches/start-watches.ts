/** Watches: standing questions. Asked while the device runs, told of when their answer changes. */
import type { Bus, WatchReport } from 'scenebus/bus';
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

export async function startWatches(options: WatchesOptions): Promise<ReconfigurableFeature> {
  const { context, file } = options;
  const cameras = () => context.feeds.map(({ id }) => id);
  const list = await WatchList.open({ configured: context.config.watches, cameras, file, logger: context.logger });
  const watches = new Watches(options, list);
  watches.begin();
  watches.tell();
  return watches;
}

class Watches implements ReconfigurableFeature {
  readonly #options: WatchesOptions;
  readonly #list: WatchList;
  readonly #stops: readonly (() => void)[];
  #watchers: CameraWatcher[] = [];

  constructor(options: WatchesOptions, list: WatchList) {
    const { settings, verbs } = options;
    this.#options = options;
    this.#list = list;
    list.findings = () =>
      this.#findings.flatMap(({ seen, ...finding }) => (seen === undefined ? [] : [{ ...finding, ...seen }]));
    const report = (listed: ListedWatch) => this.#reportOf(listed);
    this.#stops = [
      list.onChange(() => {
        this.#refresh();
        this.tell();
      }),
      settings.onChange(() => this.#refresh()),
      verbs.handle('watch/add', async ({ watch }) => ({ watch: report(await list.add(watch)) })),
      verbs.handle('watch/change', async ({ id, changes }) => ({ watch: report(await list.change(id, changes)) })),
      verbs.handle('watch/remove', async ({ id }) => {
        await list.remove(id);
        await this.#tellRemoved(id);
        return { id };
      }),
      verbs.handle('watch/list', async () => ({ watches: list.all.map(report) })),
    ];
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

  #reportOf({ watch, origin }: ListedWatch): WatchReport {
    const cameras = this.#findings
      .filter((finding) => finding.watch === watch.id)
      .map(({ camera, state: { value, probability, event } }) => {
        return { camera, value, probability, eventId: event?.id ?? null };
      });
    return { watch, origin, cameras };
  }
}
