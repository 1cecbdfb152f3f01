/** Regions that stand out of an attention map, as boxes. */
import type { Box } from '../../core/types.js';
import { clampBox } from '../../geometry/box.js';
import type { AttentionMap } from './attention-map.js';

/** A place that a model looks at when it reads a name. */
export interface AttendedRegion {
  /** Normalised to the picture. */
  readonly box: Box;
  /** The highest point, normalised to the picture. */
  readonly peak: { readonly x: number; readonly y: number };
  /** Height of the peak as a share of the map's highest, 0–1. */
  readonly prominence: number;
}

/** How regions are cut out of a map. */
export interface RegionOptions {
  /** A region ends where the map falls below this share of its own peak. 0–1. */
  readonly threshold: number;
  /** A region whose peak is lower than this share of the highest one is no object. 0–1. */
  readonly leastPeak: number;
}

/** Cells along a patch: boxes are finer than patches are. */
const CELLS = 4;
const MOST_REGIONS = 16;

/**
 * Regions around the peaks of a map, the highest first, at most 16. Each is what hangs together around its peak above
 * `threshold` of it; a later peak within an earlier region is part of that.
 */
export function findRegions(map: AttentionMap, { threshold, leastPeak }: RegionOptions): AttendedRegion[] {
  const fine = refineMap(map, CELLS);
  const { columns, rows, values } = fine;
  const regions: AttendedRegion[] = [];
  const taken = new Uint8Array(values.length);
  const order = Array.from(values.keys()).sort((a, b) => values[b]! - values[a]!);
  const highest = values[order[0]!] ?? 0;
  if (!(highest > 0)) return regions;
  for (const top of order) {
    const height = values[top]!;
    if (height < leastPeak * highest || regions.length >= MOST_REGIONS) break;
    if (taken[top] === 1) continue;
    const cells = fill(fine, top, threshold * height, taken);
    // The slope of an earlier region, not a peak of its own.
    if (cells.touchesTaken) continue;
    const box = clampBox({
      x1: cells.left * fine.patchWidth,
      y1: cells.top * fine.patchHeight,
      x2: (cells.right + 1) * fine.patchWidth,
      y2: (cells.bottom + 1) * fine.patchHeight,
    });
    if (box === undefined) continue;
    const x = Math.min(1, ((top % columns) + 0.5) * fine.patchWidth);
    const y = Math.min(1, (Math.floor(top / columns) + 0.5) * fine.patchHeight);
    regions.push({ box, peak: { x, y }, prominence: height / highest });
  }
  return regions;

  function fill(area: AttentionMap, start: number, level: number, seen: Uint8Array) {
    const found = { left: columns, right: -1, top: rows, bottom: -1, touchesTaken: false };
    const own = new Set([start]);
    const open = [start];
    for (let cell = open.pop(); cell !== undefined; cell = open.pop()) {
      const x = cell % columns;
      const y = Math.floor(cell / columns);
      found.left = Math.min(found.left, x);
      found.right = Math.max(found.right, x);
      found.top = Math.min(found.top, y);
      found.bottom = Math.max(found.bottom, y);
      for (const next of neighbours(x, y)) {
        if (own.has(next) || area.values[next]! < level) continue;
        if (seen[next] === 1) {
          found.touchesTaken = true;
          continue;
        }
        own.add(next);
        open.push(next);
      }
    }
    for (const cell of own) seen[cell] = 1;
    return found;
  }

  function* neighbours(x: number, y: number): Generator<number> {
    if (x > 0) yield y * columns + x - 1;
    if (x + 1 < columns) yield y * columns + x + 1;
    if (y > 0) yield (y - 1) * columns + x;
    if (y + 1 < rows) yield (y + 1) * columns + x;
  }
}

/** The map with `factor` cells along each patch, values between patch centres interpolated (bilinear, edges repeated). */
export function refineMap(map: AttentionMap, factor: number): AttentionMap {
  const { columns, rows, values } = map;
  const width = columns * factor;
  const height = rows * factor;
  const fine = new Float64Array(width * height);
  const along = (cells: number, patches: number) =>
    Array.from({ length: cells }, (_, cell) => {
      const at = (cell + 0.5) / factor - 0.5;
      const before = Math.floor(at);
      const inside = (patch: number) => Math.min(patches - 1, Math.max(0, patch));
      return { a: inside(before), b: inside(before + 1), share: at - before };
    });
  const horizontal = along(width, columns);
  for (const [y, { a: above, b: below, share: down }] of along(height, rows).entries()) {
    for (const [x, { a: left, b: right, share: over }] of horizontal.entries()) {
      const upper = values[above * columns + left]! * (1 - over) + values[above * columns + right]! * over;
      const lower = values[below * columns + left]! * (1 - over) + values[below * columns + right]! * over;
      fine[y * width + x] = upper * (1 - down) + lower * down;
    }
  }
  return {
    columns: width,
    rows: height,
    values: fine,
    patchWidth: map.patchWidth / factor,
    patchHeight: map.patchHeight / factor,
  };
}
