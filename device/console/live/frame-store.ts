/** Frames that the model looked at, for as long as somebody may want to see or ask about them. */
import { decodeImage, encodeJpeg, type Frame, SdkError } from 'scenebus';
import type { EventHub } from '../../events/hub.js';
import { type JournalFrame, runOf } from '../../journal/query.js';

interface Kept {
  readonly frame: Pick<Frame, 'id' | 'capturedAtMs' | 'width' | 'height'>;
  readonly camera: string | undefined;
  readonly run: string;
  readonly jpeg: Promise<Uint8Array>;
  /** Given up before the JPEG is: pixels are some fifty times its size. */
  pixels: Frame | undefined;
}

export interface FrameAddress {
  readonly id: string;
  readonly run?: string | undefined;
  readonly camera?: string | undefined;
}

const MAX_JPEGS = 64;
const MAX_PIXEL_BYTES = 64 * 2 ** 20;
/** Twice what the lists show, for fine screens. */
const THUMBNAIL_WIDTH = 320;
/** Some 15 kB each. */
const MAX_THUMBNAILS = 256;

/** Of the journal, what FrameStore reads: nothing of a camera that nobody may see. */
export interface KeptFrames {
  frame(id: string, options?: { readonly run?: string | undefined }): Promise<JournalFrame | undefined>;
}

export class FrameStore implements Disposable {
  readonly #journal: KeptFrames;
  readonly #stops: readonly (() => void)[];
  readonly #run: string;
  /** Oldest first. */
  #kept: Kept[] = [];
  /** The longest unused first. */
  readonly #thumbnails = new Map<string, Promise<Uint8Array | undefined>>();
  #pictures = 0;

  constructor(hub: EventHub, journal: KeptFrames) {
    this.#journal = journal;
    this.#run = hub.run;
    this.#stops = [
      hub.on('frame', ({ id, camera, body: { frame } }) => this.#keep(frame, camera, runOf(id))),
      hub.on('setting', ({ camera, body: { setting, value } }) => {
        if (setting !== 'privacy' || !value) return;
        this.#kept = this.#kept.filter((kept) => kept.camera !== camera);
        this.#thumbnails.clear();
      }),
    ];
  }

  [Symbol.dispose](): void {
    for (const stop of this.#stops) stop();
    this.#kept = [];
    this.#thumbnails.clear();
  }

  /** A still from outside. Its decoder is chosen by its bytes, and is one of three. @throws SdkError ERR_IMAGE_* */
  async addPicture(file: Uint8Array): Promise<Frame> {
    requireWebPicture(file);
    const { width, height, format, data } = await decodeImage(file);
    this.#pictures += 1;
    const id = `picture-${String(this.#pictures).padStart(6, '0')}`;
    const frame = { id, capturedAtMs: Date.now(), sequence: this.#pictures, width, height, format, data };
    this.#keep(frame, undefined, this.#run);
    return frame;
  }

  /** undefined: it is no longer there. @throws SdkError ERR_JOURNAL_UNAVAILABLE */
  async jpeg(address: FrameAddress): Promise<Uint8Array | undefined> {
    const kept = this.#find(address);
    if (kept !== undefined) return await kept.jpeg;
    return (await this.#journal.frame(address.id, { run: address.run }))?.jpeg;
  }

  /** Small, for lists. undefined: it is no longer there. @throws SdkError ERR_JOURNAL_UNAVAILABLE */
  async thumbnail(address: FrameAddress): Promise<Uint8Array | undefined> {
    const key = JSON.stringify([address.id, address.run, address.camera]);
    const known = this.#thumbnails.get(key);
    const made = known ?? this.#makeThumbnail(address);
    this.#thumbnails.delete(key);
    this.#thumbnails.set(key, made);
    if (this.#thumbnails.size > MAX_THUMBNAILS) this.#thumbnails.delete(this.#thumbnails.keys().next().value!);
    const forget = (): void => {
      if (this.#thumbnails.get(key) === made) this.#thumbnails.delete(key);
    };
    // What is not there now may come later, and what failed may be tried again.
    if (known === undefined) made.then((jpeg) => jpeg === undefined && forget(), forget);
    return await made;
  }

  async #makeThumbnail(address: FrameAddress): Promise<Uint8Array | undefined> {
    const jpeg = await this.jpeg(address);
    return jpeg && (await encodeJpeg(await decodeImage(jpeg), { quality: 75, width: THUMBNAIL_WIDTH }));
  }

  /** With the very pixels that the model saw while they are kept, else from the JPEG. */
  async frame(address: FrameAddress): Promise<{ readonly frame: Frame; readonly isExact: boolean } | undefined> {
    const kept = this.#find(address);
    if (kept?.pixels !== undefined) return { frame: kept.pixels, isExact: true };
    const stored = kept === undefined ? await this.#journal.frame(address.id, { run: address.run }) : undefined;
    const jpeg = kept === undefined ? stored?.jpeg : await kept.jpeg;
    if (jpeg === undefined) return undefined;
    const { width, height, format, data } = await decodeImage(jpeg);
    const capturedAtMs = kept?.frame.capturedAtMs ?? stored?.atMs ?? 0;
    return { frame: { id: address.id, capturedAtMs, sequence: 0, width, height, format, data }, isExact: false };
  }

  #find({ id, run, camera }: FrameAddress): Kept | undefined {
    return this.#kept.findLast(
      (kept) =>
        kept.frame.id === id &&
        (run === undefined || kept.run === run) &&
        (camera === undefined || kept.camera === camera),
    );
  }

  #keep(frame: Frame, camera: string | undefined, run: string): void {
    if (this.#find({ id: frame.id, run, camera })?.pixels !== undefined) return;
    const jpeg = encodeJpeg(frame);
    // Who wants it is told; when nobody does, it must not end the process.
    jpeg.catch(() => {});
    this.#kept.push({ frame, camera, run, jpeg, pixels: frame });
    if (this.#kept.length > MAX_JPEGS) this.#kept.shift();
    let bytes = 0;
    for (const kept of this.#kept.toReversed()) {
      bytes += kept.pixels?.data.length ?? 0;
      if (bytes > MAX_PIXEL_BYTES && kept.pixels !== frame) kept.pixels = undefined;
    }
  }
}

/** By the first bytes, whatever the sender calls it. */
export function requireWebPicture(file: Uint8Array): void {
  const head = Buffer.from(file.buffer, file.byteOffset, Math.min(file.length, 16)).toString('latin1');
  const isJpeg = head.startsWith('\xff\xd8\xff');
  const isPng = head.startsWith('\x89PNG\r\n\x1a\n');
  const isWebp = head.startsWith('RIFF') && head.slice(8, 12) === 'WEBP';
  if (isJpeg || isPng || isWebp) return;
  throw new SdkError('ERR_IMAGE_INVALID', 'Expected a JPEG, PNG or WebP picture, but the file is another.');
}
