/**
 * Pictures of a calibration board through a lens that is known exactly. Independent of what is tested: directions are
 * found by bisection on the models as OpenCV's documentation writes them, the board is drawn by ray tracing.
 */
import type { PixelImage } from '#sdk/core/image.js';
import type { CameraLens } from '#sdk/geometry/lens.js';

/** 8-bit grey; the board's top left square begins after `margin` pixels. */
export interface BoardPicture {
  readonly width: number;
  readonly height: number;
  readonly grey: Uint8Array;
  readonly squarePixels: number;
}

/** Where the middle of the board is, in squares (right, down, ahead), and how it is turned, degrees about x, y, z. */
export interface Pose {
  readonly at: readonly [number, number, number];
  readonly turned: readonly [number, number, number];
}

/** An ordinary one. */
export const LENS: CameraLens = {
  width: 640,
  height: 480,
  fx: 520,
  fy: 515,
  cx: 326.4,
  cy: 233.7,
  distortionModel: 'plumb_bob',
  distortion: [-0.28, 0.09, 0.001, -0.0006, 0],
};
/** Of a board that is held to every part of the picture. */
export const POSES: readonly Pose[] = [
  { at: [-2.5, -1.5, 9], turned: [20, 25, 5] },
  { at: [2.5, -1.5, 9], turned: [20, -25, -8] },
  { at: [-2.5, 1.6, 9], turned: [-22, 24, 10] },
  { at: [2.6, 1.6, 9], turned: [-25, -22, 0] },
  { at: [0, -1.5, 8], turned: [35, 0, 0] },
  { at: [-2, 0, 7.5], turned: [0, 38, 15] },
  { at: [2, 0, 7.5], turned: [3, -38, -15] },
  { at: [-1, 0.5, 12], turned: [28, 28, 0] },
  { at: [3.2, 2.2, 10], turned: [18, 20, -3] },
];

const SAMPLES = 2;

export class BoardRenderer {
  readonly #lens: CameraLens;
  /** Directions of all samples, z = 1 or a unit vector. */
  readonly #directions: Float64Array;

  constructor(lens: CameraLens) {
    this.#lens = lens;
    const { width, height } = lens;
    const across = width * SAMPLES;
    this.#directions = new Float64Array(across * height * SAMPLES * 3);
    for (let y = 0; y < height * SAMPLES; y++)
      for (let x = 0; x < across; x++)
        this.#directions.set(
          direction(lens, (x + 0.5) / SAMPLES - 0.5, (y + 0.5) / SAMPLES - 0.5),
          (y * across + x) * 3,
        );
  }

  /** @param blurPixels standard deviation of a blur, pixels */
  render(board: BoardPicture, pose: Pose, blurPixels = 0.6): PixelImage {
    const { width, height } = this.#lens;
    const rotation = rotate(pose.turned);
    const normal = [rotation[2], rotation[5], rotation[8]] as [number, number, number];
    const distance = dot(normal, pose.at);
    const across = width * SAMPLES;
    const grey = new Float64Array(width * height);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        let sum = 0;
        for (let i = 0; i < SAMPLES * SAMPLES; i++) {
          const sample = ((y * SAMPLES + Math.floor(i / SAMPLES)) * across + x * SAMPLES + (i % SAMPLES)) * 3;
          const ray = [
            this.#directions[sample] ?? 0,
            this.#directions[sample + 1] ?? 0,
            this.#directions[sample + 2] ?? 0,
          ] as const;
          sum += seenAlong(ray, pose.at, rotation, distance / dot(normal, ray), board);
        }
        grey[y * width + x] = sum / SAMPLES ** 2;
      }
    const blurred = blur(blur(grey, width, height, blurPixels, 1), width, height, blurPixels, width);
    const data = new Uint8Array(width * height * 3);
    for (let i = 0; i < blurred.length; i++) data.fill(Math.round(blurred[i] ?? 0), 3 * i, 3 * i + 3);
    return { width, height, format: 'rgb8', data };
  }
}

const WALL = 120;

function seenAlong(
  ray: readonly [number, number, number],
  at: readonly [number, number, number],
  rotation: readonly number[],
  length: number,
  board: BoardPicture,
): number {
  if (!(length > 0)) return WALL;
  const [x, y, z] = [ray[0] * length - at[0], ray[1] * length - at[1], ray[2] * length - at[2]];
  // Back into the axes of the board: the transpose.
  const [r0 = 0, r1 = 0, , r3 = 0, r4 = 0, , r6 = 0, r7 = 0] = rotation;
  const right = r0 * x + r3 * y + r6 * z;
  const down = r1 * x + r4 * y + r7 * z;
  const column = Math.floor(right * board.squarePixels + board.width / 2);
  const row = Math.floor(down * board.squarePixels + board.height / 2);
  if (column < 0 || row < 0 || column >= board.width || row >= board.height) return WALL;
  return 25 + ((board.grey[row * board.width + column] ?? 0) / 255) * 205;
}

function dot(a: readonly [number, number, number], b: readonly [number, number, number]): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/** Row-major, about z, then y, then x. */
function rotate([degreesX, degreesY, degreesZ]: readonly [number, number, number]): number[] {
  const [x, y, z] = [degreesX, degreesY, degreesZ].map((degrees) => (degrees * Math.PI) / 180) as [
    number,
    number,
    number,
  ];
  const [sx, cx, sy, cy, sz, cz] = [Math.sin(x), Math.cos(x), Math.sin(y), Math.cos(y), Math.sin(z), Math.cos(z)];
  return [
    cy * cz,
    -cy * sz,
    sy,
    sx * sy * cz + cx * sz,
    -sx * sy * sz + cx * cz,
    -sx * cy,
    -cx * sy * cz + sx * sz,
    cx * sy * sz + sx * cz,
    cx * cy,
  ];
}

/** The direction that is shown at a pixel. */
export function direction(lens: CameraLens, u: number, v: number): [number, number, number] {
  const [toX, toY] = [(u - lens.cx) / lens.fx, (v - lens.cy) / lens.fy];
  const [k1 = 0, k2 = 0, p1 = 0, p2 = 0, k3 = 0] = lens.distortion;
  if (lens.distortionModel === 'equidistant') {
    const k4 = p2;
    const bent = Math.hypot(toX, toY);
    let [low, high] = [0, Math.PI / 2];
    for (let i = 0; i < 36; i++) {
      const t = (low + high) / 2;
      const at = t + k1 * t ** 3 + k2 * t ** 5 + p1 * t ** 7 + k4 * t ** 9;
      if (at < bent) low = t;
      else high = t;
    }
    const scale = bent > 0 ? Math.sin(low) / bent : 0;
    return [toX * scale, toY * scale, Math.cos(low)];
  }
  let x = toX;
  let y = toY;
  for (let i = 0; i < 25; i++) {
    const r2 = x * x + y * y;
    const radial = 1 + k1 * r2 + k2 * r2 ** 2 + k3 * r2 ** 3;
    const shiftX = 2 * p1 * x * y + p2 * (r2 + 2 * x * x);
    const shiftY = p1 * (r2 + 2 * y * y) + 2 * p2 * x * y;
    x = (toX - shiftX) / radial;
    y = (toY - shiftY) / radial;
  }
  return [x, y, 1];
}

function blur(grey: Float64Array, width: number, height: number, sigma: number, step: number): Float64Array {
  if (sigma <= 0) return grey;
  const reach = Math.ceil(3 * sigma);
  const weights = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma ** 2)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const out = new Float64Array(grey.length);
  for (let i = 0; i < grey.length; i++) {
    const [at, size] = step === 1 ? [i % width, width] : [Math.floor(i / width), height];
    let sum = 0;
    for (let k = -reach; k <= reach; k++) {
      const to = Math.min(size - 1, Math.max(0, at + k));
      sum += (weights[k + reach] ?? 0) * (grey[i + (to - at) * step] ?? 0);
    }
    out[i] = sum / total;
  }
  return out;
}
