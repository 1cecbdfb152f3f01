/** What callers ask for besides questions: descriptions, boxes of named things, the picture itself. */
import { type Answer, encodeJpeg, type GroundedObject, SdkError, type Usage } from 'scenebus';
import type { AskResult, Bus, LocateResult, RequestOf, SnapshotResult, VerbContext } from 'scenebus/bus';
import { modelOf } from './answering-model.js';
import type { FeatureContext } from './context.js';
import { withNotices } from './noticed.js';
import type { Pictures } from './pictures.js';
import { priorityOf } from './request-priority.js';
import { addUsage, withObjects, write } from './writing.js';

type Call = Pick<VerbContext, 'signal' | 'client' | 'partial'>;

export interface PictureVerbsOptions {
  readonly context: FeatureContext;
  readonly pictures: Pictures;
  readonly verbs: Pick<Bus, 'handle'>;
}

const DEFAULT_JPEG_QUALITY = 80;

export function startPictureVerbs({ context, pictures, verbs }: PictureVerbsOptions): Disposable {
  const stops = [
    verbs.handle('describe', (request, call) => describe(context, pictures, request, call)),
    verbs.handle('locate', (request, call) => locate(context, pictures, request, call)),
    verbs.handle('snapshot', (request, call) => snapshot(context, pictures, request, call)),
  ];
  return {
    [Symbol.dispose]() {
      for (const stop of stops) stop();
    },
  };
}

/** @throws SdkError as `Pictures.of`, ERR_BUSY, ERR_ENGINE_* */
async function describe(
  { config, model, hub, tracks, places }: FeatureContext,
  pictures: Pictures,
  request: RequestOf<'describe'>,
  call: Call,
): Promise<AskResult> {
  const { feed, frame } = await pictures.of(request, call);
  const options = {
    maxNewTokens: request.maxNewTokens ?? config.describe.maxNewTokens,
    verify: request.verify ?? config.describe.verify,
    deadlineMs: request.timeoutMs ?? config.ask.timeoutMs,
    priority: priorityOf(request),
    caller: call.client,
    signal: call.signal,
  };
  const { maxNewTokens } = config.describe;
  const own = request.prompt ?? feed.config.prompt ?? config.describe.prompt;
  return await model.use(async (loaded) => {
    void hub.emit('frame', { frame }, { camera: feed.id, frame });
    const text = await write(loaded, frame, own ?? loaded.info.prompts.describe, options, call.partial);
    const found = config.describe.objects ? await withObjects(loaded, frame, text, { ...options, maxNewTokens }) : text;
    const tracked = tracks.find(feed.id, frame, found.objects);
    const answer = { ...found, objects: await places.locate(feed.config, frame, tracked) };
    const notices = [...feed.noticesFor(frame), ...loaded.info.notices];
    return {
      camera: feed.id,
      frame,
      answer: withNotices(answer, notices),
      model: modelOf(loaded, text),
    };
  }, call.signal);
}

/** @throws SdkError ERR_REQUEST_UNSUPPORTED for a model that gives no boxes; as `describe` */
async function locate(
  { config, model, hub, tracks, places }: FeatureContext,
  pictures: Pictures,
  request: RequestOf<'locate'>,
  call: Call,
): Promise<LocateResult> {
  const { feed, frame } = await pictures.of(request, call);
  const options = {
    maxNewTokens: config.ask.maxNewTokens,
    verify: request.verify ?? config.ask.verify,
    deadlineMs: request.timeoutMs ?? config.ask.timeoutMs,
    priority: priorityOf(request),
    caller: call.client,
    signal: call.signal,
  };
  return await model.use(async (loaded) => {
    if (!loaded.info.locates) {
      const message = `Expected a model that gives boxes, but ${loaded.info.name} gives none: ask where things are in words, or find its heads that localise with scenebus calibrate-grounding.`;
      throw new SdkError('ERR_REQUEST_UNSUPPORTED', message);
    }
    void hub.emit('frame', { frame }, { camera: feed.id, frame });
    const objects: GroundedObject[] = [];
    const notFound: string[] = [];
    let usage: Usage | undefined;
    let last: Answer | undefined;
    const startedMs = performance.now();
    // One after another: they share the picture's encoding and the beginning of the prompt.
    for (const name of new Set(request.objects)) {
      const found = await loaded.ask(
        frame,
        loaded.info.prompts.locate.replace('{label}', () => name),
        options,
      );
      usage = addUsage(usage, found.usage);
      last = found;
      if (found.objects.every(({ verified }) => verified === false)) notFound.push(name);
      objects.push(...found.objects.map((object) => ({ ...object, label: name })));
    }
    const notices = [...feed.noticesFor(frame), ...loaded.info.notices];
    return {
      camera: feed.id,
      frame,
      model: modelOf(loaded, last),
      objects: await places.locate(feed.config, frame, tracks.find(feed.id, frame, objects)),
      notFound,
      usage,
      timings: { totalMs: performance.now() - startedMs },
      ...(notices.length > 0 ? { notices } : {}),
    };
  }, call.signal);
}

/** @throws SdkError ERR_REQUEST_UNSUPPORTED unless the configuration allows it; as `Pictures.of` */
async function snapshot(
  { config }: FeatureContext,
  pictures: Pictures,
  request: RequestOf<'snapshot'>,
  call: Call,
): Promise<SnapshotResult> {
  if (!config.snapshots) {
    const message =
      'Expected a device that shares pictures, but this one does not. Its owner can allow it with `snapshots: true` in the configuration.';
    throw new SdkError('ERR_REQUEST_UNSUPPORTED', message);
  }
  const { feed, frame } = await pictures.of(request, call);
  const { maxWidth, quality = DEFAULT_JPEG_QUALITY } = request;
  const width = Math.min(frame.width, maxWidth ?? frame.width);
  const height = Math.max(1, Math.round((frame.height * width) / frame.width));
  return { camera: feed.id, frame, jpeg: await encodeJpeg(frame, { quality, width }), width, height };
}
