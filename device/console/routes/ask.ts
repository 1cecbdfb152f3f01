/** Questions about what a camera sees now, about a frame that is still there, or about a picture from outside. */
import { checkAnswerSchema, encodeJpeg, type JsonSchema, SdkError } from 'scenebus';
import { askFrame } from '../../features/ask-frame.js';
import { type AskEvent, askSchema, schemaCheckSchema, schemaVerdictSchema } from '../api/ask-schemas.js';
import { type Route, route } from '../api/route.js';
import { cameraParams, pictureSchema } from '../api/schemas.js';
import { streamWork } from '../event-stream.js';
import { chooseFrame, requireFeed } from './asked-frames.js';
import { requireModel } from './require-model.js';
import type { ConsoleServices } from './services.js';

const PICTURE_BYTES = 20 * 2 ** 20;
/** With its earlier turns and a schema. */
const QUESTION_BYTES = 512 * 1024;

export function askRoutes(services: ConsoleServices): Route[] {
  const { device, frames } = services;
  return [
    route({
      method: 'POST',
      path: '/api/ask',
      role: 'operator',
      summary: 'Ask; `frame`, `text` while it is written, then `answer` or `error` (server-sent events)',
      body: askSchema,
      bodyLimitBytes: QUESTION_BYTES,
      response: { type: 'bytes', mediaType: 'text/event-stream' },
      handle: async ({ body, principal, request }) => {
        const model = requireModel(services);
        const { frame, camera, notices } = await chooseFrame(services, body);
        const caller = principal?.session?.id ?? `console ${request.ip}`;
        const { config, hub, logger } = device;
        return streamWork<AskEvent>({ logger, what: 'a question on the console' }, async (send, signal) => {
          const { id, capturedAtMs, width, height } = frame;
          send({ type: 'frame', camera: camera ?? null, frame: { id, capturedAtMs, width, height } });
          const { question, answerType, choices, answerSchema, verify, turns } = body;
          const what = { question, answerType, choices, answerSchema, verify, earlier: turns };
          const asked = { ...what, frame, camera, caller, signal };
          const onText = (text: string) => send({ type: 'text', text });
          const { answer, options = [] } = await askFrame({ config, hub, model }, { ...asked, onText });
          const { text, objects, finishReason, timings, usage, sentence, value, probability } = answer;
          send({
            type: 'answer',
            text,
            sentence: sentence ?? null,
            ...(value === undefined ? {} : { value }),
            probability: probability ?? null,
            options,
            objects: objects.map((object) => ({ ...object })),
            finishReason: finishReason ?? 'stop',
            timings: { ...timings },
            usage: { ...usage },
            notices: [...notices, ...(model.info?.notices ?? []), ...(answer.notices ?? [])],
          });
        });
      },
    }),
    route({
      method: 'POST',
      path: '/api/answer-schemas',
      role: 'operator',
      summary: 'Whether an answer can be held to a JSON Schema; asks nothing',
      body: schemaCheckSchema,
      maxPerMinute: 240,
      response: { type: 'json', schema: schemaVerdictSchema },
      handle: async ({ body, reply }) => {
        const gone = new AbortController();
        reply.raw.once('close', () => gone.abort());
        try {
          await checkAnswerSchema(body.answerSchema as JsonSchema, { signal: gone.signal });
          return { problem: null };
        } catch (error) {
          if (!(error instanceof SdkError) || !/^ERR_(SCHEMA|LIMIT)_/.test(error.code)) throw error;
          return { problem: { code: error.code, message: error.message } };
        }
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
