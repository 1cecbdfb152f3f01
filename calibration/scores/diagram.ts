/** Reliability diagrams: what is said along x, how often it is right along y; the diagonal is where they agree. */
import { encodePng } from '#sdk/image/index.js';
import type { Reliability } from './reliability.js';
import type { BeforeAndAfter } from './scalings.js';

type Colour = readonly [number, number, number];
const WHITE: Colour = [255, 255, 255];
const FRAME: Colour = [60, 60, 60];
const GRID: Colour = [225, 225, 225];
const RIGHT: Colour = [70, 120, 200];
const SAID: Colour = [215, 60, 50];
const COUNT: Colour = [150, 150, 150];

const PANEL = 240;
const COUNTS = 48;
const GAP = 24;

class Canvas {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.data = new Uint8Array(width * height * 3).fill(255);
  }

  fill(x1: number, y1: number, x2: number, y2: number, colour: Colour): void {
    for (let y = Math.max(0, Math.round(y1)); y < Math.min(this.height, Math.round(y2)); y++) {
      for (let x = Math.max(0, Math.round(x1)); x < Math.min(this.width, Math.round(x2)); x++)
        this.data.set(colour, (y * this.width + x) * 3);
    }
  }

  outline(x1: number, y1: number, x2: number, y2: number, colour: Colour): void {
    this.fill(x1, y1, x2, y1 + 1, colour);
    this.fill(x1, y2 - 1, x2, y2, colour);
    this.fill(x1, y1, x1 + 1, y2, colour);
    this.fill(x2 - 1, y1, x2, y2, colour);
  }
}

/**
 * Before at the left, after at the right. Blue bars: the share that is right; red lines: the mean score of the bin; grey
 * bars below: how many claims a bin has, by their logarithm.
 */
export async function reliabilityDiagram({ before, after }: BeforeAndAfter): Promise<Uint8Array> {
  const canvas = new Canvas(2 * PANEL + 3 * GAP, PANEL + COUNTS + 3 * GAP);
  draw(canvas, before, GAP, GAP);
  draw(canvas, after, PANEL + 2 * GAP, GAP);
  const { data, width, height } = canvas;
  return await encodePng({ data, width, height, format: 'rgb8' });
}

function draw(canvas: Canvas, { bins }: Reliability, left: number, top: number): void {
  const [bottom, base] = [top + PANEL, top + PANEL + GAP + COUNTS];
  canvas.fill(left, top, left + PANEL, bottom, WHITE);
  for (let i = 1; i < 10; i++)
    canvas.fill(left, top + (i * PANEL) / 10, left + PANEL, top + (i * PANEL) / 10 + 1, GRID);
  const most = Math.max(1, ...bins.map(({ count }) => Math.log1p(count)));
  for (const { from, to, count, meanScore, right } of bins) {
    if (right === null || meanScore === null) continue;
    const [x1, x2] = [left + from * PANEL + 2, left + to * PANEL - 2];
    canvas.fill(x1, bottom - right * PANEL, x2, bottom, RIGHT);
    canvas.fill(x1, bottom - meanScore * PANEL - 1, x2, bottom - meanScore * PANEL + 2, SAID);
    canvas.fill(x1, base - (Math.log1p(count) / most) * COUNTS, x2, base, COUNT);
  }
  for (let i = 0; i < PANEL; i += 2) canvas.fill(left + i, bottom - i - 1, left + i + 1, bottom - i, FRAME);
  canvas.outline(left, top, left + PANEL, bottom, FRAME);
  canvas.outline(left, base - COUNTS, left + PANEL, base, FRAME);
}
