/** Pictures that need no data: simple things whose names and places are known, because they are drawn here. */
import { createRandom } from '#sdk/core/random.js';
import type { Box } from '#sdk/core/types.js';
import { intersectionOverUnion } from '#sdk/geometry/box.js';
import type { PixelImage } from '#sdk/image/index.js';

/** A picture, what is in it by name, and names of what is not. */
export interface NamedPicture {
  readonly image: PixelImage;
  readonly objects: readonly { readonly label: string; readonly box: Box }[];
  readonly absent: readonly string[];
}

const COLOURS = {
  red: [205, 35, 35],
  green: [40, 150, 60],
  blue: [40, 70, 200],
  yellow: [235, 205, 40],
  purple: [125, 50, 150],
  white: [245, 245, 245],
  black: [25, 25, 25],
} as const;
type Colour = keyof typeof COLOURS;
/** Whether a point of the unit square belongs to the thing. */
const THINGS = {
  ball: (x: number, y: number) => (x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.25,
  box: () => true,
  cone: (x: number, y: number) => Math.abs(x - 0.5) <= y / 2,
} as const;
type Thing = keyof typeof THINGS;

const SIDE = 336;
const EVERY = Object.keys(COLOURS).flatMap((colour) => Object.keys(THINGS).map((thing) => `${colour} ${thing}`));

/** The same seed draws the same pictures: 2 or 3 things each that do not overlap, on a plain ground. */
export function drawScenes(count: number, seed: number): NamedPicture[] {
  const random = createRandom(seed);
  const choose = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  return Array.from({ length: count }, () => {
    const ground = 120 + Math.floor(random() * 60);
    const data = new Uint8Array(SIDE * SIDE * 3).fill(ground);
    const objects: { label: string; box: Box }[] = [];
    const wanted = 2 + Math.floor(random() * 2);
    // Places that are taken are tried again, a bounded number of times: the first two always find one.
    for (let tries = 0; tries < 200 && objects.length < wanted; tries++) {
      const label = choose(EVERY);
      const size = 0.22 + 0.16 * random();
      const [x1, y1] = [random() * (1 - size), random() * (1 - size)];
      const box = { x1, y1, x2: x1 + size, y2: y1 + size };
      const isFree = objects.every((each) => each.label !== label && intersectionOverUnion(each.box, box) === 0);
      if (!isFree) continue;
      draw(data, label, box);
      objects.push({ label, box });
    }
    const others = EVERY.filter((label) => objects.every((each) => each.label !== label));
    return {
      image: { width: SIDE, height: SIDE, format: 'rgb8', data },
      objects,
      absent: [choose(others), choose(others)].filter((label, i, all) => all.indexOf(label) === i),
    };
  });
}

function draw(data: Uint8Array, label: string, { x1, y1, x2, y2 }: Box): void {
  const [colour, thing] = label.split(' ') as [Colour, Thing];
  for (let y = Math.round(y1 * SIDE); y < Math.round(y2 * SIDE); y++) {
    for (let x = Math.round(x1 * SIDE); x < Math.round(x2 * SIDE); x++) {
      const [across, down] = [((x + 0.5) / SIDE - x1) / (x2 - x1), ((y + 0.5) / SIDE - y1) / (y2 - y1)];
      if (THINGS[thing](across, down)) data.set(COLOURS[colour], (y * SIDE + x) * 3);
    }
  }
}
