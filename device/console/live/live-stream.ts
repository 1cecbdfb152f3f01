/** The moving picture of a camera: encoded once a frame, however many look, and not at all when nobody does. */
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeJpeg, type Frame, type Logger } from 'scenebus';
import type { Feed } from '../../features/context.js';

/** Somebody who looks. */
export interface Viewer {
  /** It has not taken what it was sent. Whatever it asks for, it is sent no more until it has. */
  readonly isBehind: boolean;
  /** Given a message when it has asked for one; see `encodeLive`. */
  send(message: Uint8Array): void;
}

/** Pictures for people, not for the model: a third of the bytes of the best quality. */
const JPEG_QUALITY = 75;
/** Before a camera that shows nothing is tried again. */
const PAUSE_MS = 500;
export const MAX_VIEWERS = 32;
/** Pictures that a viewer may ask for ahead: one message for several, which costs as much as sending a picture. */
const MAX_AHEAD = 4;

export interface LiveStreamOptions {
  readonly camera: string;
  /** Looked up whenever it begins: the configuration may have replaced it; undefined: not to be seen now. */
  readonly feed: () => Feed | undefined;
  readonly maxFps: number;
  readonly logger: Logger;
  /** Default: a JPEG for people. */
  readonly encode?: ((frame: Frame) => Promise<Uint8Array>) | undefined;
}

export class LiveStream implements AsyncDisposable {
  readonly #camera: string;
  readonly #feed: () => Feed | undefined;
  readonly #maxFps: number;
  readonly #logger: Logger;
  readonly #encode: (frame: Frame) => Promise<Uint8Array>;
  /** How many pictures each has asked for and not got. A slow one gets fewer and holds up nobody. */
  readonly #viewers = new Map<Viewer, number>();
  #stop: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();
  /** Of the newest picture: who comes between two frames of a slow camera sees it at once. */
  #newest: Uint8Array | undefined;

  constructor({ camera, feed, maxFps, logger, encode = encodeForPeople }: LiveStreamOptions) {
    this.#camera = camera;
    this.#feed = feed;
    this.#maxFps = maxFps;
    this.#logger = logger;
    this.#encode = encode;
  }

  get isFull(): boolean {
    return this.#viewers.size >= MAX_VIEWERS;
  }

  add(viewer: Viewer): void {
    this.#viewers.set(viewer, 0);
    if (this.#stop === undefined) {
      this.#newest = undefined;
      const stop = new AbortController();
      this.#stop = stop;
      this.#running = this.#running.then(() => this.#run(stop.signal));
    } else if (this.#newest !== undefined) viewer.send(this.#newest);
    if (this.#newest === undefined) this.#viewers.set(viewer, 1);
  }

  /** It will take so many more pictures. */
  next(viewer: Viewer, pictures = 1): void {
    const asked = this.#viewers.get(viewer);
    if (asked !== undefined) this.#viewers.set(viewer, Math.min(MAX_AHEAD, asked + pictures));
  }

  remove(viewer: Viewer): void {
    this.#viewers.delete(viewer);
    if (this.#viewers.size > 0) return;
    this.#stop?.abort();
    this.#stop = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#viewers.clear();
    this.#stop?.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const feed = this.#feed();
        for await (const frame of feed?.frames({ maxFps: this.#maxFps, format: 'rgb8', reuseMemory: true, signal }) ??
          []) {
          // Replaced, or switched off.
          if (this.#feed() !== feed) break;
          await this.#show(frame);
        }
        // A clip that is over has no next frame; its last one stays.
        if (feed !== undefined && this.#feed() === feed && !signal.aborted)
          await this.#show(await feed.latestFrame({ signal }));
        else this.#newest = undefined;
      } catch (error) {
        if (signal.aborted) return;
        this.#newest = undefined;
        this.#logger.log('debug', `camera ${this.#camera}: no live picture`, { error: String(error) });
      }
      await sleep(PAUSE_MS, undefined, { signal }).catch(() => {});
    }
  }

  async #show(frame: Frame): Promise<void> {
    const ready = [...this.#viewers].flatMap(([viewer, asked]) => (asked > 0 && !viewer.isBehind ? [viewer] : []));
    if (ready.length === 0) return;
    const message = encodeLive(frame, await this.#encode(frame));
    this.#newest = message;
    for (const viewer of ready) {
      const asked = this.#viewers.get(viewer);
      if (asked === undefined) continue;
      this.#viewers.set(viewer, Math.max(0, asked - 1));
      viewer.send(message);
    }
  }
}

/** Seen for a moment: a file that is some percent smaller is not worth twice the time. */
function encodeForPeople(frame: Frame): Promise<Uint8Array> {
  return encodeJpeg(frame, { quality: JPEG_QUALITY, optimizeCoding: false });
}

/** Four bytes with the length of what follows (big-endian), JSON that says which frame it is, the JPEG. */
export function encodeLive({ id, capturedAtMs, width, height }: Frame, jpeg: Uint8Array): Uint8Array {
  const header = Buffer.from(JSON.stringify({ id, capturedAtMs, width, height }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(header.length);
  return Buffer.concat([length, header, jpeg]);
}
