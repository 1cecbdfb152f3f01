/** Still pictures from files and memory. */
import { readFile, stat } from 'node:fs/promises';
import type { Metadata } from 'sharp';
import { SdkError } from '../core/errors.js';
import type { PixelImage } from '../core/image.js';
import { LIMITS } from '../core/limits.js';
import type { CallOptions } from '../core/types.js';
import { requireImageSize } from './pixel-image.js';
import { decodesOnlyWebPictures, loadSharp } from './sharp.js';

export interface DecodedImage extends PixelImage {
  readonly format: 'rgb8';
  /** What is wrong with the file and did no harm to the picture. Mostly empty. */
  readonly warnings: readonly string[];
}

/** Names of files that may hold such a picture. */
export const IMAGE_FILE = /\.(?:jpe?g|png|webp|gif|tiff?|avif)$/i;
const FORMATS: readonly string[] = ['jpeg', 'png', 'webp', 'gif', 'tiff', 'heif', 'avif'];
const formats = () => (decodesOnlyWebPictures() ? FORMATS.slice(0, 3) : FORMATS);

/**
 * Decodes JPEG, PNG, WebP, GIF (first picture), TIFF and AVIF to 8-bit RGB, upright as EXIF says. Transparency is laid
 * over white with Pillow's arithmetic, 16 bits become 8, CMYK becomes sRGB. Colour profiles of RGB pictures are not
 * applied, as the model's training did not. A JPEG that lacks only its end marker is read, with a warning. In a process
 * that called `decodeOnlyWebPictures` (as a device's service does) JPEG, PNG and WebP only.
 *
 * @param input the file's bytes, or its path
 * @throws SdkError ERR_IMAGE_INVALID not readable as a picture, or cut short
 * @throws SdkError ERR_IMAGE_TOO_LARGE before decoding, from the header
 *
 * @example
 * const { width, height, data } = await decodeImage('kitchen.jpg');
 */
export async function decodeImage(input: Uint8Array | string, options: CallOptions = {}): Promise<DecodedImage> {
  const { signal } = options;
  signal?.throwIfAborted();
  const bytes = typeof input === 'string' ? await readImageFile(input, signal) : input;
  const what = typeof input === 'string' ? input : `${bytes.length} bytes`;
  if (bytes.length === 0) throw new SdkError('ERR_IMAGE_INVALID', `Expected a picture, but ${what} is empty.`);
  requireFileSize(bytes.length, what);
  refuseByContent(bytes, what);
  const sharp = await loadSharp();

  let metadata: Metadata;
  try {
    metadata = await sharp(bytes, { limitInputPixels: false }).metadata();
  } catch (cause) {
    throw new SdkError(
      'ERR_IMAGE_INVALID',
      `Expected a picture (${formats().join(', ')}), but ${what} is none: ${messageOf(cause)}.`,
      { cause },
    );
  }
  signal?.throwIfAborted();
  if (!formats().includes(metadata.format)) {
    throw new SdkError(
      'ERR_IMAGE_INVALID',
      `Expected one of ${formats().join(', ')}, but ${what} is ${metadata.format}. Convert it to PNG or JPEG.`,
      { details: { format: metadata.format } },
    );
  }
  requireImageSize(metadata.width, metadata.height, `image in ${what}`);

  const decode = async (file: Uint8Array, failOn: 'error' | 'warning', warnings: readonly string[]) => {
    const { data, info } = await sharp(file, {
      limitInputPixels: LIMITS.imagePixels,
      failOn,
      ignoreIcc: metadata.space !== 'cmyk',
    })
      .autoOrient()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    signal?.throwIfAborted();
    const { width, height, channels } = info;
    return { width, height, format: 'rgb8', data: toRgb(data, channels), warnings } satisfies DecodedImage;
  };
  try {
    // With the marker a picture that was whole decodes without a word; one that was cut short makes the decoder warn.
    if (metadata.format === 'jpeg' && !hasJpegEnd(bytes))
      return await decode(Buffer.concat([bytes, JPEG_END]), 'warning', [MISSING_END]);
    // 'error' lets through what decoders only grumble about, but neither damage nor truncation.
    return await decode(bytes, 'error', []);
  } catch (cause) {
    signal?.throwIfAborted();
    throw new SdkError(
      'ERR_IMAGE_INVALID',
      `The ${metadata.format} picture in ${what} is damaged or cut short: ${messageOf(cause)}.`,
      { cause, details: { format: metadata.format } },
    );
  }
}

/** End of image: ITU-T T.81, B.2.1. */
const JPEG_END = Buffer.from([0xff, 0xd9]);
const SCAN_START = Buffer.from([0xff, 0xda]);
const MISSING_END = 'the file lacks its end marker; whatever wrote it did not finish';

/** Behind the last scan: the pictures within the metadata come before it, and what phones append after the marker. */
function hasJpegEnd(bytes: Uint8Array): boolean {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return file.lastIndexOf(JPEG_END) > file.lastIndexOf(SCAN_START);
}

/** Formats that people have pictures in and that are not read: with what to do, which no decoder's message says. */
function refuseByContent(bytes: Uint8Array, what: string): void {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 64)).toString('latin1');
  const refuse = (format: string, advice: string) => {
    throw new SdkError(
      'ERR_IMAGE_INVALID',
      `Expected a picture (JPEG, PNG, WebP, GIF, TIFF or AVIF), but ${what} is ${format}. ${advice}`,
      { details: { format } },
    );
  };
  if (/^\s*(?:<\?xml|<svg|<!doctype svg)/i.test(head)) refuse('SVG', 'It has no pixels: render it to PNG first.');
  if (head.startsWith('BM')) refuse('BMP', 'Convert it to PNG, without loss: ffmpeg -i IN.bmp OUT.png');
  if (head.slice(4, 8) === 'ftyp' && /hei[cxms]|hev[cxms]/.test(head.slice(8))) {
    refuse(
      'HEIC',
      'Convert it to JPEG: heif-convert IN.heic OUT.jpg (package libheif-examples); on an iPhone choose Settings, Camera, Formats, Most Compatible.',
    );
  }
}

async function readImageFile(path: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const status = await stat(path).catch((cause: unknown) => {
    throw new SdkError(
      'ERR_IMAGE_INVALID',
      `Expected a picture at ${path}, but it cannot be opened: ${messageOf(cause)}.`,
      {
        cause,
        details: { path },
      },
    );
  });
  if (!status.isFile()) throw new SdkError('ERR_IMAGE_INVALID', `Expected a picture at ${path}, but it is no file.`);
  requireFileSize(status.size, path);
  return await readFile(path, { signal });
}

function requireFileSize(sizeBytes: number, what: string): void {
  if (sizeBytes <= LIMITS.imageFileBytes) return;
  throw new SdkError(
    'ERR_IMAGE_TOO_LARGE',
    `Expected a picture of at most ${LIMITS.imageFileBytes} bytes, but ${what} has ${sizeBytes}.`,
    { details: { sizeBytes, limitBytes: LIMITS.imageFileBytes } },
  );
}

/** Grey, grey + alpha, RGB or RGBA to RGB. */
function toRgb(data: Buffer, channels: number): Uint8Array {
  if (channels === 3) return new Uint8Array(data.buffer, data.byteOffset, data.length);
  const pixels = data.length / channels;
  const rgb = new Uint8Array(pixels * 3);
  const hasAlpha = channels === 2 || channels === 4;
  const step = channels >= 3 ? 1 : 0; // grey repeats its one channel
  for (let i = 0; i < pixels; i += 1) {
    const from = i * channels;
    const alpha = hasAlpha ? data[from + channels - 1]! : 255;
    for (let c = 0; c < 3; c += 1) rgb[i * 3 + c] = overWhite(data[from + c * step]!, alpha);
  }
  return rgb;
}

/** Pillow's `alpha_composite` over opaque white: fixed point with 7 extra bits, division by 255 as two shifts. */
function overWhite(value: number, alpha: number): number {
  if (alpha === 0) return 255;
  const sum = (value * alpha + 255 * (255 - alpha)) * 128 + (128 << 7);
  return (((sum >> 8) + sum) >> 8) >> 7;
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim().split('\n')[0]!.replace(/\.$/, '');
}
