/** Watches: standing questions. Asked while the device runs, told of when their answer changes. */
import type { Bus, ResultOf, WatchReport } from 'scenebus';
import type { CameraSettings } from '../camera-settings.js';
import type { FeatureContext } from '../context.js';
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

export async function startWatches({ context, settings, verbs, file }: WatchesOptions): Promise<AsyncDisposable> {
  const { feeds, hub, config, logger } = context;
  const cameras = feeds.map(({ id }) => id);
  const list = await WatchList.open({ configured: config.watches, cameras, file, logger });
  const watchers = feeds.map((feed) => new CameraWatcher({ context, feed, list, settings }));
  const refresh = () => {
    for (const watcher of watchers) watcher.refresh();
  };
  list.findings = () =>
    watchers.flatMap(({ findings }) =>
      findings.flatMap(({ seen, ...finding }) => (seen === undefined ? [] : [{ ...finding, ...seen }])),
    );
  const report = ({ watch, origin }: ListedWatch): WatchReport => ({
    watch,
    origin,
    cameras: watchers
      .flatMap(({ findings }) => findings)
      .filter((finding) => finding.watch === watch.id)
      .map(({ camera, state: { value, probability, event } }) => ({
        camera,
        value,
        probability,
        eventId: event?.id ?? null,
      })),
  });
  const stops = [
    list.onChange(refresh),
    settings.onChange(refresh),
    verbs.handle(
      'watch/add',
      async ({ watch }): Promise<ResultOf<'watch/add'>> => ({ watch: report(await list.add(watch)) }),
    ),
    verbs.handle('watch/change', async ({ id, changes }) => ({ watch: report(await list.change(id, changes)) })),
    verbs.handle('watch/remove', async ({ id }) => {
      await list.remove(id);
      await hub.emit('watchState', { watch: id, state: null }, { isKept: false });
      return { id };
    }),
    verbs.handle('watch/list', async () => ({ watches: list.all.map(report) })),
  ];
  for (const watcher of watchers) watcher.start();
  return {
    async [Symbol.asyncDispose]() {
      for (const stop of stops) stop();
      for (const watcher of watchers) await watcher[Symbol.asyncDispose]();
      await list.keep();
    },
  };
}
