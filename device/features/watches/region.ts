/** A part of a frame, for watches that look at one: cut out around the polygon, black outside of it. */
import { type Box, boxToPixels, type Frame, type GroundedObject, type ModelImage } from 'scenebus';

type Polygon = readonly (readonly [x: number, y: number])[];

/** So small a picture shows nothing: the cut is made larger around its middle. */
const LEAST_PIXELS = 32;

export interface RegionImage {
  readonly image: ModelImage;
  /** Objects of the cut as objects of the frame. */
  toFrame(objects: readonly GroundedObject[]): GroundedObject[];
}

/** @param polygon corners, 0–1 of the frame; undefined: all of it */
export function imageOf(frame: Frame, polygon: Polygon | undefined): RegionImage {
  if (polygon === undefined) return { image: frame, toFrame: (objects) => [...objects] };
  const left = span(
    polygon.map(([x]) => x * frame.width),
    frame.width,
  );
  const top = span(
    polygon.map(([, y]) => y * frame.height),
    frame.height,
  );
  const image = {
    id: frame.id,
    width: left.size,
    height: top.size,
    format: frame.format,
    data: new Uint8Array(left.size * top.size * 3),
  };
  for (let y = 0; y < top.size; y++) {
    const centre = (top.start + y + 0.5) / frame.height;
    for (const [from, to] of insideOf(polygon, centre)) {
      const first = clamp(Math.ceil(from * frame.width - 0.5) - left.start, left.size);
      const end = clamp(Math.floor(to * frame.width - 0.5) + 1 - left.start, left.size);
      if (end <= first) continue;
      const source = ((top.start + y) * frame.width + left.start) * 3;
      image.data.set(frame.data.subarray(source + first * 3, source + end * 3), (y * left.size + first) * 3);
    }
  }
  const acrossFrame = (x: number) => (left.start + x * left.size) / frame.width;
  const downFrame = (y: number) => (top.start + y * top.size) / frame.height;
  const toFrame = ({ x1, y1, x2, y2 }: Box): Box => ({
    x1: acrossFrame(x1),
    y1: downFrame(y1),
    x2: acrossFrame(x2),
    y2: downFrame(y2),
  });
  return {
    image,
    toFrame: (objects) =>
      objects.map((object) => {
        const box = toFrame(object.box);
        const peak = object.peak && { x: acrossFrame(object.peak.x), y: downFrame(object.peak.y) };
        const boxPixels = boxToPixels(box, frame.width, frame.height);
        return { ...object, box, boxPixels, ...(peak === undefined ? {} : { peak }) };
      }),
  };
}

/** Whole pixels around the values, within the frame. */
function span(values: readonly number[], limit: number): { readonly start: number; readonly size: number } {
  const from = Math.floor(Math.min(...values));
  const to = Math.ceil(Math.max(...values));
  const size = Math.min(limit, Math.max(LEAST_PIXELS, to - from));
  const start = Math.round((from + to - size) / 2);
  return { start: Math.min(Math.max(0, start), limit - size), size };
}

/** Where a line at height `y` is inside of the polygon, by the even-odd rule. */
function insideOf(polygon: Polygon, y: number): (readonly [number, number])[] {
  const crossings: number[] = [];
  for (const [i, [x1, y1]] of polygon.entries()) {
    const [x2, y2] = polygon[(i + 1) % polygon.length]!;
    if (y1 <= y !== y2 <= y) crossings.push(x1 + ((y - y1) / (y2 - y1)) * (x2 - x1));
  }
  crossings.sort((a, b) => a - b);
  return Array.from({ length: crossings.length / 2 }, (_, i) => [crossings[2 * i]!, crossings[2 * i + 1]!] as const);
}

function clamp(value: number, limit: number): number {
  return Math.min(Math.max(0, value), limit);
}
