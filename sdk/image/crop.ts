/** A part of a picture. */
import type { PixelImage } from '../core/image.js';
import type { Box } from '../core/types.js';
import { requirePixelImage } from './pixel-image.js';

/** So small a picture shows nothing: the cut is made larger around its middle. */
const LEAST_PIXELS = 32;

/**
 * What lies in a box and around it, copied. The cut is moved rather than made smaller at an edge of the picture.
 *
 * @param margin shown around the box on every side, in shares of the box's longer side
 * @throws SdkError ERR_IMAGE_INVALID, ERR_IMAGE_TOO_LARGE
 */
export function cropToBox(image: PixelImage, box: Box, margin: number): PixelImage {
  requirePixelImage(image);
  const { width, height, format, data } = image;
  const around = margin * Math.max((box.x2 - box.x1) * width, (box.y2 - box.y1) * height);
  const columns = span(box.x1 * width - around, box.x2 * width + around, width);
  const rows = span(box.y1 * height - around, box.y2 * height + around, height);
  const cut = new Uint8Array(columns.size * rows.size * 3);
  for (let y = 0; y < rows.size; y++) {
    const start = ((rows.start + y) * width + columns.start) * 3;
    cut.set(data.subarray(start, start + columns.size * 3), y * columns.size * 3);
  }
  return { width: columns.size, height: rows.size, format, data: cut };
}

function span(from: number, to: number, limit: number): { readonly start: number; readonly size: number } {
  const size = Math.min(limit, Math.max(LEAST_PIXELS, Math.ceil(to) - Math.floor(from)));
  const start = Math.round((from + to - size) / 2);
  return { start: Math.min(Math.max(0, start), limit - size), size };
}
