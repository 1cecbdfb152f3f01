/** Polygons of corners [x, y] from 0 to 1, as the configuration has them. */
export type Corner = readonly [x: number, y: number];
export type Polygon = readonly Corner[];

/** As in the schema of the configuration. */
export const MAX_POLYGONS = 32;
export const MAX_CORNERS = 64;
export const MIN_CORNERS = 3;

/** Finer than a pixel of the largest pictures is of no use to anybody. */
const DECIMALS = 10_000;

export function corner(x: number, y: number): Corner {
  const within = (value: number): number => Math.round(DECIMALS * Math.min(1, Math.max(0, value))) / DECIMALS;
  return [within(x), within(y)];
}

/** A rectangle in the middle, for whoever draws with the keyboard. */
export function rectangle(): Polygon {
  return [corner(0.4, 0.4), corner(0.6, 0.4), corner(0.6, 0.6), corner(0.4, 0.6)];
}

export function moveCorner(polygons: readonly Polygon[], which: Which, to: Corner): Polygon[] {
  return changed(polygons, which.polygon, (corners) => corners.with(which.corner, to));
}

/** Half way to the next corner. */
export function addCorner(polygons: readonly Polygon[], { polygon, corner: at }: Which): Polygon[] {
  return changed(polygons, polygon, (corners) => {
    const [one, next] = [corners[at]!, corners[(at + 1) % corners.length]!];
    return corners.toSpliced(at + 1, 0, corner((one[0] + next[0]) / 2, (one[1] + next[1]) / 2));
  });
}

/** A polygon that would be none without it goes as a whole. */
export function removeCorner(polygons: readonly Polygon[], { polygon, corner: at }: Which): Polygon[] {
  const corners = polygons[polygon] ?? [];
  if (corners.length <= MIN_CORNERS) return polygons.filter((_, index) => index !== polygon);
  return changed(polygons, polygon, (all) => all.toSpliced(at, 1));
}

export interface Which {
  readonly polygon: number;
  readonly corner: number;
}

function changed(polygons: readonly Polygon[], index: number, change: (corners: Corner[]) => Polygon): Polygon[] {
  return polygons.map((corners, each) => (each === index ? change([...corners]) : corners));
}
