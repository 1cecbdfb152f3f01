/** Questions about what a camera sees now, about a frame that is still there, or about a picture from outside. */
import { encodeJpeg, type Frame, SdkError } from 'scenebus';
import { askFrame } from '../../features/ask-frame.js';
import type { Feed } from '../../features/context.js';
import { HttpError, refusalOf } from '../api/http-error.js';
import { type Route, route } from '../api/route.js';
import { type AskEvent, type AskInput, askSchema, cameraParams, pictureSchema } from '../api/schemas.js';
import { EventStream } from '../event-stream.js';
import type { ConsoleServices } from './services.js';

const PICTURE_BYTES = 20 * 2 ** 20;

interface AskedFrame {
  readonly frame: Frame;
  readonly camera: string | undefined;
  readonly notices: readonly string[];
}

export function askRoutes(services: ConsoleServices): Route[] {
  const { device, frames } = services;
  return [
    route({
      method: 'POST',
      path: '/api/ask',
      role: 'operator',
      summary: 'Ask; `frame`, `text` while it is written, then `answer` or `error` (server-sent events)',
      body: askSchema,
      response: { type: 'bytes', mediaType: 'text/event-stream' },
      handle: async ({ body, principal, request }) => {
        const model = device.model();
        if (model === undefined)
          throw new SdkError('ERR_ENGINE_DIED', 'The model is still being loaded. Ask again in a moment.');
        const asked = await chooseFrame(services, body);
        const { frame, camera } = asked;
        const stream = new EventStream();
        const send = (event: AskEvent): void => stream.send(event.type, event);
        const { id, capturedAtMs, width, height } = frame;
        send({ type: 'frame', camera: camera ?? null, frame: { id, capturedAtMs, width, height } });
        const gone = new AbortController();
        stream.onClose(() => gone.abort());
        const caller = principal?.session?.id ?? `console ${request.ip}`;
        const call = { question: body.question, frame, camera, caller, signal: gone.signal };
        void askFrame(
          { config: device.config, hub: device.hub, model },
          { ...call, onText: (text) => send({ type: 'text', text }) },
        )
          .then(
            (answer) => {
              const { text, objects, finishReason, timings, usage } = answer;
              send({
                type: 'answer',
                text,
                objects: objects.map((object) => ({ ...object })),
                finishReason,
                timings: { ...timings },
                usage: { ...usage },
                notices: asked.notices,
              });
            },
            (error: unknown) => {
              if (gone.signal.aborted) return;
              const refusal = refusalOf(error);
              if (refusal === undefined) device.logger.log('error', 'a question on the console failed', { error });
              const { code, message } = refusal ?? {
                code: 'ERR_INTERNAL',
                message: 'The device failed; see its log.',
              };
              send({ type: 'error', code, message });
            },
          )
          .finally(() => stream.end());
        return stream.readable;
      },
    }),
    route({
      method: 'POST',
      path: '/api/pictures',
      role: 'operator',
      summary: 'Send a still picture to ask about: JPEG, PNG or WebP',
      bodyTypes: ['image/jpeg', 'image/png', 'image/webp'],
      bodyLimitBytes: PICTURE_BYTES,
      maxPerMinute: 60,
      response: { type: 'json', schema: pictureSchema },
      handle: async ({ body }) => {
        const { id, width, height } = await frames.addPicture(body as unknown as Uint8Array);
        return { id, width, height };
      },
    }),
    route({
      method: 'GET',
      path: '/api/cameras/:camera/snapshot',
      role: 'display',
      summary: 'The newest picture of a camera',
      params: cameraParams,
      response: { type: 'bytes', mediaType: 'image/jpeg' },
      handle: async ({ params, reply }) => {
        const feed = requireFeed(services, params.camera);
        const frame = await feed.latestFrame({ signal: services.signal });
        void reply.header('x-scenebus-frame', encodeURIComponent(frame.id));
        return await encodeJpeg(frame);
      },
    }),
  ];
}

/** @throws HttpError for a camera that is not there, or not to be seen */
function requireFeed({ device, state }: ConsoleServices, id: string | undefined): Feed {
  const feeds = device.feeds();
  const feed = id === undefined && feeds.length === 1 ? feeds[0] : feeds.find((known) => known.id === id);
  if (feed === undefined) {
    const known = feeds.map((each) => each.id).join(', ') || 'none yet';
    throw new HttpError(404, 'CAMERA_UNKNOWN', `Expected one of these cameras: ${known}.`);
  }
  if (state.isPrivate(feed.id))
    throw new HttpError(
      409,
      'CAMERA_PRIVATE',
      `Camera ${feed.id} is switched off: its privacy is on, or not yet known.`,
    );
  return feed;
}

async function chooseFrame(services: ConsoleServices, { frame: address, camera }: AskInput): Promise<AskedFrame> {
  const { frames, signal } = services;
  if (address === undefined) {
    const feed = requireFeed(services, camera);
    const frame = await feed.latestFrame({ signal });
    return { frame, camera: feed.id, notices: feed.noticesFor(frame) };
  }
  const found = await frames.frame({ ...address, camera });
  if (found === undefined)
    throw new HttpError(404, 'FRAME_UNKNOWN', 'This picture is not kept any more; ask about the newest one.');
  const notices = found.isExact
    ? []
    : ['Asked about the stored JPEG of this frame: its pixels are no longer in memory.'];
  return { frame: found.frame, camera, notices };
}
