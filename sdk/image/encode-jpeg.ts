import type { PixelImage } from '../core/image.js';
import { requirePixelImage } from './pixel-image.js';
import { loadSharp } from './sharp.js';
import { swapRedAndBlue } from './swap-channels.js';

export interface EncodeJpegOptions {
  /** 1–100. Default 85. */
  readonly quality?: number | undefined;
  /** Makes it smaller, never larger; the height follows. Default: as it is. */
  readonly width?: number | undefined;
  /** Huffman tables made for this picture: some percent smaller, at about twice the time. Default true. */
  readonly optimizeCoding?: boolean | undefined;
}

/**
 * A JPEG file of a picture, for people and logs.
 * @throws SdkError ERR_IMAGE_INVALID
 */
export async function encodeJpeg(
  image: PixelImage,
  { quality = 85, width: wanted, optimizeCoding = true }: EncodeJpegOptions = {},
): Promise<Uint8Array> {
  requirePixelImage(image);
  const { data, width, height, format } = image;
  const sharp = await loadSharp();
  // libvips would swap them by a matrix of floats, which takes longer than the JPEG.
  const swapped = format === 'bgr8' ? swapRedAndBlue(data, takeSpare(data.length)) : undefined;
  const rgb = sharp(swapped ?? data, { raw: { width, height, channels: 3 } });
  const size = { width: wanted, height: Math.max(1, Math.round((height * (wanted ?? width)) / width)) };
  const isSmaller = wanted !== undefined && wanted < width;
  const jpeg = (isSmaller ? rgb.resize({ ...size, fit: 'fill' }) : rgb).jpeg({ quality, optimizeCoding });
  try {
    return await jpeg.toBuffer();
  } finally {
    if (swapped !== undefined && swapped.length <= MAX_SPARE_BYTES) spare = swapped;
  }
}

/** A picture of 1920 × 1080. */
const MAX_SPARE_BYTES = 1_920 * 1_080 * 3;
/**
 * Of the last picture: megabytes at every frame of a moving picture make the garbage collector run several times a
 * second, which costs more than the JPEG.
 */
let spare: Uint8Array | undefined;

function takeSpare(bytes: number): Uint8Array | undefined {
  if (spare?.length !== bytes) return undefined;
  const taken = spare;
  spare = undefined;
  return taken;
}
