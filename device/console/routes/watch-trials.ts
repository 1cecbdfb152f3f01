/** A watch tried before it is switched on: on what its camera shows now, and on what the journal has kept. */
import { decodeImage, type Frame } from 'scenebus';
import { descriptionSettings } from '../../features/describe.js';
import { evidenceOf } from '../../features/watches/evidence.js';
import { look } from '../../features/watches/look.js';
import { replay } from '../../features/watches/trial.js';
import { HttpError } from '../../http/http-error.js';
import type { JournalPicture } from '../../journal/query.js';
import { type Route, route } from '../api/route.js';
import { type TrialEvent, type TrialFailure, type TrialInput, trialSchema } from '../api/watch-schemas.js';
import { streamWork } from '../event-stream.js';
import { chooseFrame, requireFeed } from './asked-frames.js';
import { requireModel } from './require-model.js';
import type { ConsoleServices } from './services.js';

/** Of all callers together: each keeps the model busy for minutes. */
const MAX_TRIALS = 2;

export function watchTrialRoutes(services: ConsoleServices): Route[] {
  let running = 0;
  return [
    route({
      method: 'POST',
      path: '/api/watch-trials',
      role: 'operator',
      summary:
        'Try a watch without adding it: on the newest frame, or on the kept pictures of the last minutes; `start`, `look` for each picture, then `result` or `error` (server-sent events)',
      body: trialSchema,
      maxPerMinute: 60,
      response: { type: 'bytes', mediaType: 'text/event-stream' },
      handle: async ({ body, principal, request }) => {
        const feed = requireFeed(services, body.camera);
        requireModel(services);
        if (running >= MAX_TRIALS)
          throw new HttpError(429, 'ERR_BUSY', `Expected at most ${MAX_TRIALS} trials at once; wait, or stop one.`);
        running += 1;
        const caller = `trial ${principal?.session?.id ?? request.ip}`;
        const trial = body.lastMinutes === undefined ? tryNow : tryPast;
        const readable = streamWork<TrialEvent | TrialFailure>(
          { logger: services.device.logger, what: 'the trial of a watch' },
          (send, signal) =>
            trial({ services, body: { ...body, camera: feed.id }, caller, send, signal }).finally(() => {
              running -= 1;
            }),
        );
        return readable;
      },
    }),
  ];
}

interface Trial {
  readonly services: ConsoleServices;
  readonly body: TrialInput & { readonly camera: string };
  readonly caller: string;
  readonly send: (event: TrialEvent) => void;
  readonly signal: AbortSignal;
}

async function tryNow({ services, body: { watch, camera }, caller, send, signal }: Trial): Promise<void> {
  const { device } = services;
  const { frame } = await chooseFrame(services, { camera });
  const call = { caller, signal, priority: 'question' } as const;
  await requireModel(services).use(async (model) => {
    void device.hub.emit('frame', { frame }, { camera, frame });
    send({ type: 'start', pictures: 1, isCut: false, fromMs: frame.capturedAtMs, toMs: frame.capturedAtMs });
    const { value, probability, text, objects } = await look(model, frame, watch, call);
    const verify = watch.verify ?? device.config.ask.verify;
    const boxes = await evidenceOf(model, frame, watch, objects, { ...call, verify });
    const about = referenceTo(frame);
    const found = { answer: value, probability, value, isLasting: false, event: null, text: text ?? null };
    send({ type: 'look', index: 0, atMs: frame.capturedAtMs, frame: about, run: device.hub.run, ...found });
    send({ type: 'result', asked: 1, fired: 0, objects: boxes.map((object) => ({ ...object })) });
  }, signal);
}

async function tryPast({ services, body, caller, send, signal }: Trial): Promise<void> {
  const { device, state } = services;
  const { watch, camera, lastMinutes = 60, maxPictures } = body;
  const feed = requireFeed(services, camera);
  const toMs = Date.now();
  const fromMs = toMs - lastMinutes * 60_000;
  // One more tells whether there are more.
  const found = await device.journal.pictures({ camera, from: fromMs, to: toMs, limit: maxPictures + 1 });
  const isCut = found.length > maxPictures;
  const pictures = isCut ? found.slice(1) : found;
  send({ type: 'start', pictures: pictures.length, isCut, fromMs: isCut ? pictures[0]!.atMs : fromMs, toMs });
  const { change } = descriptionSettings(device.config, feed.config);
  const looks = replay({
    watch,
    pictures: pictures.map((picture) => ({ atMs: picture.atMs, load: () => load(services, picture) })),
    change: { meanThreshold: change.mean, blockThreshold: change.block },
    model: requireModel(services),
    caller,
    signal,
  });
  let asked = 0;
  let fired = 0;
  for await (const seen of looks) {
    if (state.isPrivate(camera))
      throw new HttpError(409, 'CAMERA_PRIVATE', `The privacy of ${camera} was switched on.`);
    const { id, run, atMs, width, height } = pictures[seen.index]!;
    if (seen.answer !== null) asked += 1;
    if (seen.event === 'new') fired += 1;
    send({ type: 'look', ...seen, atMs, frame: { id, capturedAtMs: atMs, width, height }, run, text: null });
  }
  send({ type: 'result', asked, fired, objects: [] });
}

async function load({ device }: ConsoleServices, { id, run }: JournalPicture): Promise<Frame | undefined> {
  const kept = await device.journal.frame(id, { run });
  if (kept === undefined) return undefined;
  const { width, height, format, data } = await decodeImage(kept.jpeg);
  return { id, capturedAtMs: kept.atMs, sequence: 0, width, height, format, data };
}

function referenceTo({ id, capturedAtMs, width, height }: Frame) {
  return { id, capturedAtMs, width, height };
}
