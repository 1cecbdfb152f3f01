/** Standing questions: the list of the device, which the bus works on too. */
import { watchChangesSchema, watchDefinitionSchema } from 'scenebus/bus';
import type { StandingWatches, WatchStanding } from '../../features/watches/start-watches.js';
import { HttpError } from '../../http/http-error.js';
import { type Route, route } from '../api/route.js';
import { historyQuery, historySchema, oneWatchSchema, watchesSchema, watchParams } from '../api/watch-schemas.js';
import { readHistory } from '../watch-history.js';
import type { ConsoleServices } from './services.js';

export function watchRoutes(services: ConsoleServices): Route[] {
  const { device } = services;
  const standing = (watch: WatchStanding) => withProblems(services, watch);
  return [
    route({
      method: 'GET',
      path: '/api/watches',
      role: 'display',
      summary: 'Watches and how they stand at each camera',
      response: { type: 'json', schema: watchesSchema },
      handle: async () => ({ watches: (device.watches()?.all ?? []).map(standing) }),
    }),
    route({
      method: 'POST',
      path: '/api/watches',
      role: 'operator',
      summary: 'Add a watch; the same again is no change',
      body: watchDefinitionSchema,
      response: { type: 'json', schema: oneWatchSchema },
      handle: async ({ body }) => ({ watch: standing(await requireWatches(services).add(body)) }),
    }),
    route({
      method: 'PATCH',
      path: '/api/watches/:watch',
      role: 'operator',
      summary: 'Change a watch: what is left out stays, null takes an optional field away, `enabled` pauses it',
      params: watchParams,
      body: watchChangesSchema,
      response: { type: 'json', schema: oneWatchSchema },
      handle: async ({ params: { watch: id }, body }) => {
        requireWatch(services, id);
        return { watch: standing(await requireWatches(services).change(id, body)) };
      },
    }),
    route({
      method: 'GET',
      path: '/api/watches/:watch/history',
      role: 'display',
      summary: 'How a watch stood over the last hours, from the journal',
      params: watchParams,
      query: historyQuery,
      response: { type: 'json', schema: historySchema },
      handle: async ({ params: { watch: id }, query: { hours } }) => {
        const { watch, cameras } = requireWatch(services, id);
        const toMs = Date.now();
        const at = cameras.map(({ camera }) => camera);
        return await readHistory(device.journal, watch.id, at, { fromMs: toMs - hours * 3_600_000, toMs });
      },
    }),
    route({
      method: 'DELETE',
      path: '/api/watches/:watch',
      role: 'operator',
      summary: 'Remove a watch',
      params: watchParams,
      response: { type: 'empty' },
      handle: async ({ params: { watch: id } }) => {
        requireWatch(services, id);
        await requireWatches(services).remove(id);
        return undefined;
      },
    }),
  ];
}

function requireWatches({ device }: ConsoleServices): StandingWatches {
  const watches = device.watches();
  if (watches !== undefined) return watches;
  throw new HttpError(503, 'STARTING', 'The device is starting; its watches are there when the model is loaded.');
}

/** @throws HttpError for a watch that is not there */
export function requireWatch(services: ConsoleServices, id: string): WatchStanding {
  const found = requireWatches(services).all.find(({ watch }) => watch.id === id);
  if (found === undefined) throw new HttpError(404, 'WATCH_UNKNOWN', 'There is no such watch.');
  return found;
}

function withProblems({ state }: ConsoleServices, { watch, origin, cameras }: WatchStanding): object {
  const problemAt = (camera: string) =>
    (state.problem(`watch/${watch.id}/${camera}`) ?? state.problem(`watches/${camera}`))?.message ?? null;
  return { watch, origin, cameras: cameras.map((each) => ({ ...each, problem: problemAt(each.camera) })) };
}
