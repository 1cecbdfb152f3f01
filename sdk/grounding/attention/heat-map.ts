import { encodePng } from '../../image/encode-png.js';
import type { AttentionMap } from './attention-map.js';
import { refineMap } from './find-regions.js';

/** Pixels along a patch. */
const PIXELS = 8;
/** From nothing to the peak: dark blue, magenta, orange, light yellow; each brighter than the one before. */
const COLOURS = [
  [8, 8, 60],
  [140, 20, 120],
  [240, 110, 40],
  [255, 250, 190],
] as const;

/**
 * A PNG file of a map, brightest at its peak. It shows the part of the picture that patches cover: stretched over the
 * whole picture it lies where it belongs, to within one patch at the right and at the bottom.
 */
export async function heatMapPng(map: AttentionMap): Promise<Uint8Array> {
  const fine = refineMap(map, PIXELS);
  // What the last patches see beyond the picture is cut off.
  const width = Math.min(fine.columns, Math.max(1, Math.round(1 / fine.patchWidth)));
  const height = Math.min(fine.rows, Math.max(1, Math.round(1 / fine.patchHeight)));
  let highest = 0;
  for (const value of fine.values) highest = Math.max(highest, value);
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const share = highest > 0 ? fine.values[y * fine.columns + x]! / highest : 0;
      data.set(colourOf(share), (y * width + x) * 3);
    }
  }
  return await encodePng({ width, height, format: 'rgb8', data });
}

function colourOf(share: number): number[] {
  const at = share * (COLOURS.length - 1);
  const index = Math.min(COLOURS.length - 2, Math.floor(at));
  const [from, to] = [COLOURS[index]!, COLOURS[index + 1]!];
  return from.map((value, channel) => Math.round(value + (to[channel]! - value) * (at - index)));
}
