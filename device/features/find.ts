/** Kept frames of what is described, for callers on the bus. */
import { SdkError } from 'scenebus';
import type { Bus, RequestOf, ResultOf, VerbContext } from 'scenebus/bus';
import { type Found, type FoundFrame, type FrameFinder, findFrames } from '../journal/find-frames.js';
import type { CameraSettings } from './camera-settings.js';
import type { FeatureContext } from './context.js';
import { priorityOf } from './request-priority.js';

export interface FindOptions {
  readonly context: Pick<FeatureContext, 'config' | 'model'>;
  readonly journal: FrameFinder;
  readonly settings: Pick<CameraSettings, 'isOn'>;
  readonly verbs: Pick<Bus, 'handle'>;
}

export function startFind(options: FindOptions): Disposable {
  const stop = options.verbs.handle('find', (request, call) => find(options, request, call));
  return { [Symbol.dispose]: stop };
}

/** @throws SdkError ERR_REQUEST_INVALID, ERR_REQUEST_UNSUPPORTED without a journal, ERR_JOURNAL_UNAVAILABLE, ERR_BUSY */
async function find(
  { context, journal, settings }: FindOptions,
  request: RequestOf<'find'>,
  { client, signal }: Pick<VerbContext, 'client' | 'signal'>,
): Promise<ResultOf<'find'>> {
  const { config, model } = context;
  if (!config.journal.enabled)
    throw new SdkError('ERR_REQUEST_UNSUPPORTED', 'This device keeps no journal: journal.enabled is false.');
  const { text, camera, fromMs: from, toMs: to, limit, candidates } = request;
  if (!/[\p{L}\p{N}]/u.test(text))
    throw new SdkError('ERR_REQUEST_INVALID', 'Expected words to look for in "text" but it has none.');
  const search = { text, camera, from, to, limit, candidates };
  const isHidden = (id: string) => settings.isOn(id, 'privacy');
  const how = { isHidden, priority: priorityOf(request), caller: client, signal };
  if (model.info === undefined) return dataOf(await findFrames(journal, search, { ...how, model: undefined }));
  return await model.use(async (loaded) => {
    const found = await findFrames(journal, search, { ...how, model: loaded });
    const { name: id, contentHash: hash } = loaded.info;
    return { ...dataOf(found), ...(found.rankedBy === 'likelihood' ? { model: { id, hash } } : {}) };
  }, signal);
}

function dataOf({ frames, rankedBy, looked, notices }: Found): ResultOf<'find'> {
  const told = notices.length === 0 ? {} : { notices: [...notices] };
  return { frames: frames.map(tellFrame), rankedBy, looked, ...told };
}

function tellFrame({ camera, frame, run, description, score, thumbnail }: FoundFrame) {
  const { id: frameId, capturedAtMs, width, height } = frame;
  return {
    ...(camera === null ? {} : { camera }),
    ...{ frameId, frameTs: new Date(capturedAtMs).toISOString(), frameRun: run },
    ...{ image: { width, height }, description, score, thumbnail },
  };
}
