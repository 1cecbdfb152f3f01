/** What happened: as it happens, and from the journal. */
import { Readable } from 'node:stream';
import type { AnyDeviceEvent, EventKind } from '../../events/events.js';
import { HttpError } from '../../http/http-error.js';
import { dataSetArchive } from '../../journal/data-set-archive.js';
import { allEvents, eventLine } from '../../journal/export.js';
import { runOf } from '../../journal/query.js';
import { toRecord } from '../../journal/record.js';
import type { Principal } from '../access/roles.js';
import { type Route, route } from '../api/route.js';
import {
  dataSetQuery,
  exportQuery,
  frameParams,
  frameQuery,
  type TimelineEvent,
  timelineQuery,
  timelineSchema,
} from '../api/schemas.js';
import { EventStream } from '../event-stream.js';
import { visibleJournal } from '../visible-journal.js';
import type { ConsoleServices } from './services.js';

const MAX_STREAMS = 32;
const BEAT_MS = 10_000;
/** Changes that the lamps may follow from. */
const STATE_KINDS: readonly EventKind[] = ['problem', 'status', 'setting', 'health', 'info'];
const TOLD_KINDS = ['scene', 'answer', 'watch', 'status', 'problem'] as const;

export function timelineRoutes(services: ConsoleServices): Route[] {
  const { device, frames, state } = services;
  const streams = new Set<EventStream>();
  let isExporting = false;
  return [
    route({
      method: 'GET',
      path: '/api/events',
      role: 'display',
      summary: 'Live: `state` whenever something changed, `event` for what the journal also keeps (server-sent events)',
      response: { type: 'bytes', mediaType: 'text/event-stream' },
      handle: async ({ principal }) => {
        if (streams.size >= MAX_STREAMS)
          throw new HttpError(503, 'TOO_MANY_VIEWERS', `Expected at most ${MAX_STREAMS} pages at once; close one.`);
        const stream = follow(services, principal);
        streams.add(stream);
        stream.onClose(() => streams.delete(stream));
        return stream.readable;
      },
    }),
    route({
      method: 'GET',
      path: '/api/timeline',
      role: 'display',
      summary: 'Descriptions, answers and events, newest first; search with `text`',
      query: timelineQuery,
      response: { type: 'json', schema: timelineSchema },
      handle: async ({ query }) => await device.journal.query(query),
    }),
    route({
      method: 'GET',
      path: '/api/timeline/export',
      role: 'operator',
      summary: 'The same as JSON lines, oldest first, without a limit',
      query: exportQuery,
      maxPerMinute: 30,
      response: { type: 'bytes', mediaType: 'application/jsonl' },
      handle: async ({ query, reply }) => {
        // A journal that cannot be read is told as such, before the first byte of a file.
        await device.journal.query({ ...query, limit: 1 });
        void reply.header('content-disposition', 'attachment; filename="scenebus-events.jsonl"');
        const signal = services.signal;
        return Readable.from(
          (async function* () {
            for await (const event of allEvents(device.journal, query, { signal })) yield `${eventLine(event)}\n`;
          })(),
        );
      },
    }),
    route({
      method: 'GET',
      path: '/api/timeline/data-set',
      role: 'operator',
      summary:
        'Questions with their pictures and answers, for distillation: a tar archive of `samples.jsonl`, `images/`, a card',
      query: dataSetQuery,
      maxPerMinute: 12,
      response: { type: 'bytes', mediaType: 'application/x-tar' },
      handle: async ({ query, reply }) => {
        if (isExporting) throw new HttpError(429, 'ERR_BUSY', 'Expected one data set at a time; wait for the other.');
        await device.journal.query({ ...query, limit: 1 });
        void reply.header('content-disposition', 'attachment; filename="scenebus-data-set.tar"');
        const name = `${device.config.device}-questions`;
        const archive = dataSetArchive(visibleJournal(device.journal, state), query, {
          name,
          nowMs: Date.now(),
          signal: services.signal,
        });
        isExporting = true;
        return Readable.from(archive, { objectMode: false }).once('close', () => {
          isExporting = false;
        });
      },
    }),
    route({
      method: 'GET',
      path: '/api/frames/:frame',
      role: 'display',
      summary: 'The picture that an event is about',
      params: frameParams,
      query: frameQuery,
      response: { type: 'bytes', mediaType: 'image/jpeg' },
      handle: async ({ params, query, reply }) => {
        const { size, ...about } = query;
        const address = { id: params.frame, ...about };
        const jpeg = await (size === 'thumbnail' ? frames.thumbnail(address) : frames.jpeg(address));
        if (jpeg === undefined)
          throw new HttpError(
            404,
            'FRAME_UNKNOWN',
            'This picture is not kept (`journal.frames` in the configuration keeps them), or its camera is private now.',
          );
        // With its run, an id names the same picture forever; but its camera's privacy may be switched on.
        if (query.run !== undefined) void reply.header('cache-control', 'private, max-age=60');
        return jpeg;
      },
    }),
  ];
}

function follow({ device, state, sessions }: ConsoleServices, principal: Principal | undefined): EventStream {
  const stream = new EventStream();
  const { hub } = device;
  let isStateQueued = false;
  const sendState = (): void => {
    if (isStateQueued) return;
    isStateQueued = true;
    // Several changes of one moment become one.
    setImmediate(() => {
      isStateQueued = false;
      stream.send('state', state.now(device));
    });
  };
  const stops = [
    ...STATE_KINDS.map((kind) => hub.on(kind, sendState)),
    ...TOLD_KINDS.map((kind) =>
      hub.on(kind, (event) => {
        const told = timelineEvent(event as AnyDeviceEvent);
        if (told !== undefined) stream.send('event', told);
      }),
    ),
  ];
  let heartbeats = 0;
  let broker = device.broker().state;
  const timer = setInterval(() => {
    if (principal !== undefined && !sessions.isOpen(principal)) stream.end();
    // The broker's state has no event of its own.
    if (device.broker().state !== broker) sendState();
    broker = device.broker().state;
    if (++heartbeats % (BEAT_MS / 1_000) === 0) stream.beat();
  }, 1_000);
  stream.onClose(() => {
    clearInterval(timer);
    for (const stop of stops) stop();
  });
  sendState();
  return stream;
}

/** As the journal would give it. */
function timelineEvent(event: AnyDeviceEvent): TimelineEvent | undefined {
  const record = toRecord(event);
  if (record === undefined) return undefined;
  const { id, kind, atMs, camera, frame } = record;
  const { reply: _reply, ...body } = JSON.parse(record.body) as Record<string, unknown>;
  return { id, run: runOf(id), kind, atMs, camera, frame: frame && { ...frame }, body };
}
