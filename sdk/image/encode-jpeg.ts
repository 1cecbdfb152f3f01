import type { Matrix3x3 } from 'sharp';
import type { PixelImage } from '../core/image.js';
import { requirePixelImage } from './pixel-image.js';
import { loadSharp } from './sharp.js';

export interface EncodeJpegOptions {
  /** 1–100. Default 85. */
  readonly quality?: number | undefined;
  /** Makes it smaller, never larger; the height follows. Default: as it is. */
  readonly width?: number | undefined;
}

/** Rows are the colours that come out, columns those that went in. */
const SWAP_RED_AND_BLUE: Matrix3x3 = [
  [0, 0, 1],
  [0, 1, 0],
  [1, 0, 0],
];

/**
 * A JPEG file of a picture, for people and logs.
 * @throws SdkError ERR_IMAGE_INVALID
 */
export async function encodeJpeg(
  image: PixelImage,
  { quality = 85, width: wanted }: EncodeJpegOptions = {},
): Promise<Uint8Array> {
  requirePixelImage(image);
  const { data, width, height, format } = image;
  const sharp = await loadSharp();
  const picture = sharp(data, { raw: { width, height, channels: 3 } });
  const rgb = format === 'bgr8' ? picture.recomb(SWAP_RED_AND_BLUE) : picture;
  const size = { width: wanted, height: Math.max(1, Math.round((height * (wanted ?? width)) / width)) };
  const isSmaller = wanted !== undefined && wanted < width;
  return await (isSmaller ? rgb.resize({ ...size, fit: 'fill' }) : rgb).jpeg({ quality }).toBuffer();
}
