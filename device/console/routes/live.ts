import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { DisposalStack } from 'scenebus/service';
import type { RawData, WebSocket } from 'ws';
import { HttpError } from '../../http/http-error.js';
import { cameraParams } from '../api/schemas.js';
import { LiveStream, type Viewer } from '../live/live-stream.js';
import type { ConsoleServices } from './services.js';

const SESSION_LOOK_MS = 5_000;

/** `next`: one; `next 3`: three. */
function picturesWanted(message: RawData): number {
  const [, number] = /^next (\d)$/.exec(String(message)) ?? [];
  return number === undefined ? 1 : Number(number);
}

/** The moving picture over a WebSocket: a picture goes out when the viewer has asked for the next. */
export function addLive(
  app: FastifyInstance,
  { device, sessions, state }: ConsoleServices,
  resources: DisposalStack,
): void {
  const streams = new Map<string, LiveStream>();
  resources.defer(async () => {
    for (const stream of streams.values()) await stream[Symbol.asyncDispose]();
  });
  const watch = (socket: WebSocket, request: FastifyRequest): void => {
    const { success, data } = cameraParams.safeParse({ ...(request.params as object) });
    const feed = success ? device.feeds().find(({ id }) => id === data.camera) : undefined;
    if (feed === undefined) {
      socket.close(4404, 'There is no such camera.');
      return;
    }
    const { id } = feed;
    const visible = () => (state.isPrivate(id) ? undefined : device.feeds().find((known) => known.id === id));
    const { logger } = device;
    const maxFps = device.config.console.liveFps;
    const stream = streams.get(id) ?? new LiveStream({ camera: id, feed: visible, maxFps, logger });
    streams.set(id, stream);
    if (stream.isFull) {
      socket.close(4429, 'Too many pages show this camera.');
      return;
    }
    const viewer: Viewer = {
      get isBehind() {
        return socket.bufferedAmount > 0;
      },
      send: (message) => socket.send(message, { binary: true }),
    };
    const { principal } = request;
    const look = setInterval(() => {
      if (principal === undefined || !sessions.isOpen(principal)) socket.close(4401, 'Sign in again.');
    }, SESSION_LOOK_MS);
    socket.on('message', (message) => stream.next(viewer, picturesWanted(message)));
    socket.on('error', () => socket.terminate());
    socket.on('close', () => {
      clearInterval(look);
      stream.remove(viewer);
    });
    stream.add(viewer);
  };
  app.route({
    method: 'GET',
    url: '/api/cameras/:camera/live',
    config: { role: 'display' },
    handler: async () => {
      throw new HttpError(426, 'UPGRADE_REQUIRED', 'Expected a WebSocket; a single picture is at …/snapshot.');
    },
    wsHandler: watch,
  });
}
