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
  const rgb = sharp(format === 'bgr8' ? swapRedAndBlue(data) : data, { raw: { width, height, channels: 3 } });
  const size = { width: wanted, height: Math.max(1, Math.round((height * (wanted ?? width)) / width)) };
  const isSmaller = wanted !== undefined && wanted < width;
  return await (isSmaller ? rgb.resize({ ...size, fit: 'fill' }) : rgb).jpeg({ quality, optimizeCoding }).toBuffer();
}
