/** Sources of single pictures: folders, and addresses that give one at a time. Decoded as `decodeImage` does for all. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../core/clock.js';
import { isSdkError, SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { naturalOrder } from '../../core/natural-order.js';
import { decodeImage, IMAGE_FILE } from '../../image/decode.js';
import { redactAddress } from '../address.js';
import type { FedPicture } from './capture-addon.js';
import { connectionError, statusError } from './connection-error.js';
import { httpGet, readBody } from './http-request.js';
import type { TlsSettings } from './tls-relay.js';

/** Where the pictures go: the ring, by way of the addon. */
export interface PictureSink {
  push(picture: FedPicture): void;
  /** Sign of life, several times a second. */
  beat(): void;
  warn(message: string): void;
}

const BEAT_MS = 100;
/** Pictures that cameras and people keep beside the others and that are not read. */
const OTHER_PICTURE = /\.(?:bmp|heic|heif|jp2|jxl|raw|dng|svg)$/i;

/** `fps`: pictures a second. */
export interface FolderOptions {
  readonly fps: number;
  readonly loop: boolean;
  readonly signal: AbortSignal;
}

/**
 * The pictures of a folder in natural order of their names, at a steady rate; listed again on every pass of a loop.
 * Resolves at the end. A picture that cannot be decoded is told and left out.
 */
export async function playFolder(
  folder: string,
  sink: PictureSink,
  { fps, loop, signal }: FolderOptions,
): Promise<void> {
  let dueMs = systemClock.monotonicMs();
  const told = new Set<string>();
  const warnOnce = (key: string, message: string) => {
    if (told.size < 1000 && !told.has(key)) sink.warn(message);
    told.add(key);
  };
  do {
    const names = await listPictures(folder, warnOnce);
    let readable = 0;
    let lastReason = '';
    for (const [index, name] of names.entries()) {
      let picture: Awaited<ReturnType<typeof decodeImage>>;
      try {
        picture = await decodeImage(join(folder, name), { signal });
      } catch (error) {
        signal.throwIfAborted();
        if (isSdkError(error, 'ERR_NATIVE_UNAVAILABLE')) throw error;
        lastReason = messageOf(error);
        warnOnce(name, `${name} is left out: ${lastReason}`);
        sink.beat();
        continue;
      }
      for (const warning of picture.warnings) warnOnce(`${name} ${warning}`, `${name}: ${warning}`);
      await waitUntil(dueMs, sink, signal);
      readable++;
      sink.push({ ...picture, mediaTimeMs: (1000 * index) / fps, isPaced: true, backend: 'sharp' });
      dueMs = Math.max(dueMs + 1000 / fps, systemClock.monotonicMs() - 1000 / fps);
    }
    if (readable === 0) {
      throw new SdkError(
        'ERR_CAPTURE_UNSUPPORTED',
        `Expected pictures in ${folder}, but none of its ${names.length} could be decoded. The last one: ${lastReason}`,
      );
    }
  } while (loop);
  await waitUntil(dueMs, sink, signal); // the last one is shown for its time as well
}

async function listPictures(folder: string, warnOnce: (key: string, message: string) => void): Promise<string[]> {
  const entries = await readdir(folder).catch((cause: unknown) => {
    throw new SdkError('ERR_CAPTURE_NOT_FOUND', `The folder cannot be read: ${messageOf(cause)}.`);
  });
  const isFile = async (name: string) => (await stat(join(folder, name)).catch(() => undefined))?.isFile() === true;
  const names: string[] = [];
  const others: string[] = [];
  for (const name of entries) {
    if (IMAGE_FILE.test(name) && (await isFile(name))) names.push(name);
    else if (OTHER_PICTURE.test(name)) others.push(name);
  }
  if (others.length > 0) {
    warnOnce(
      others.join(),
      `${others.length} files of formats that are not read are left out (${others[0]}${others.length > 1 ? ' …' : ''}): convert them to JPEG or PNG`,
    );
  }
  if (names.length === 0) {
    throw new SdkError(
      'ERR_CAPTURE_NOT_FOUND',
      `Expected pictures in ${folder} (.jpg .jpeg .png .webp .gif .tif .tiff .avif), but it holds none${others.length > 0 ? `, only ${others[0]} and such: convert them to JPEG or PNG` : ''}.`,
    );
  }
  return names.sort(naturalOrder);
}

/** `timeoutMs`: of one picture. */
export interface SnapshotOptions {
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly tls: TlsSettings | undefined;
  readonly signal: AbortSignal;
}

/** Polls for pictures until it fails. */
export async function pollSnapshots(address: string, sink: PictureSink, options: SnapshotOptions): Promise<never> {
  const { intervalMs, timeoutMs, tls, signal } = options;
  const shown = redactAddress(address);
  let broken = 0;
  for (;;) {
    const startedMs = systemClock.monotonicMs();
    const bytes = await whileBeating(sink, getPicture(address, shown, { timeoutMs, tls, signal }));
    try {
      const picture = await decodeImage(bytes, { signal });
      broken = 0;
      sink.push({ ...picture, mediaTimeMs: -1, isPaced: false, backend: 'snapshots' });
    } catch (error) {
      signal.throwIfAborted();
      if (isSdkError(error, 'ERR_NATIVE_UNAVAILABLE') || ++broken >= MAX_BROKEN) throw error;
      sink.warn(`a picture of ${shown} is left out: ${messageOf(error)}`);
    }
    await waitUntil(startedMs + intervalMs, sink, signal);
  }
}

const MAX_BROKEN = 5;

async function getPicture(
  address: string,
  shown: string,
  options: Omit<SnapshotOptions, 'intervalMs'>,
): Promise<Uint8Array> {
  try {
    const response = await httpGet(address, options);
    const failure = statusError(shown, response.statusCode ?? 0, new URL(address).username !== '');
    if (failure !== undefined) {
      response.destroy();
      throw failure;
    }
    return await readBody(response, LIMITS.imageFileBytes);
  } catch (error) {
    options.signal.throwIfAborted();
    throw error instanceof SdkError ? error : connectionError(shown, error);
  }
}

async function whileBeating<T>(sink: PictureSink, work: Promise<T>): Promise<T> {
  // The request has a time limit of its own.
  const timer = setInterval(() => sink.beat(), BEAT_MS);
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}

async function waitUntil(dueMs: number, sink: PictureSink, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    sink.beat();
    const leftMs = dueMs - systemClock.monotonicMs();
    if (leftMs <= 0) return;
    await sleep(Math.min(leftMs, BEAT_MS), undefined, { signal });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
