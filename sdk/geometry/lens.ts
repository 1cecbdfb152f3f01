/**
 * What a camera's lens does with directions, in the models that ROS and OpenCV share.
 * Source: OpenCV's documentation of calib3d ("Pinhole camera model") and of its fisheye namespace; REP 104 of ROS.
 */
import { SdkError } from '../core/errors.js';

/** How a lens bends what it shows, by the names of ROS. `equidistant` is a fisheye lens. */
export type DistortionModel = 'plumb_bob' | 'rational_polynomial' | 'equidistant';
/** How many numbers say it. */
export const DISTORTION_COEFFICIENTS: Readonly<Record<DistortionModel, number>> = Object.freeze({
  plumb_bob: 5,
  rational_polynomial: 8,
  equidistant: 4,
});

/** A calibrated lens for pictures of one size. The centre of the top left pixel is (0, 0). */
export interface CameraLens {
  /** Pixels of the pictures that it holds for. */
  readonly width: number;
  readonly height: number;
  /** Focal lengths, pixels. */
  readonly fx: number;
  readonly fy: number;
  /** Where the axis of the lens meets the picture, pixels. */
  readonly cx: number;
  readonly cy: number;
  readonly distortionModel: DistortionModel;
  /** `plumb_bob`: k1 k2 p1 p2 k3; `rational_polynomial`: those and k4 k5 k6; `equidistant`: k1 k2 k3 k4. */
  readonly distortion: readonly number[];
  /** How well it is known; left out where nobody said. */
  readonly accuracy?: LensAccuracy | undefined;
}

/** Pixels: standard deviations of the four numbers, and how far corners of the board were from where they should be. */
export interface LensAccuracy {
  readonly fx: number;
  readonly fy: number;
  readonly cx: number;
  readonly cy: number;
  readonly rms: number;
}

/** A direction in the camera's optical axes: x to the right, y down, z into the scene. */
export type Direction = readonly [x: number, y: number, z: number];

/**
 * Where a direction is seen, pixels; undefined for one that the model cannot show (behind a pinhole camera).
 * @param direction of any length
 */
export function projectDirection(lens: CameraLens, [x, y, z]: Direction): readonly [u: number, v: number] | undefined {
  if (lens.distortionModel === 'equidistant') {
    const across = Math.hypot(x, y);
    const theta = Math.atan2(across, z);
    const bent = bendAngle(lens.distortion, theta);
    const scale = across > 0 ? bent / across : 0;
    return [lens.fx * x * scale + lens.cx, lens.fy * y * scale + lens.cy];
  }
  if (!(z > 0)) return undefined;
  const [bentX, bentY] = bendPinhole(lens.distortion, x / z, y / z);
  return [lens.fx * bentX + lens.cx, lens.fy * bentY + lens.cy];
}

/**
 * The direction that a pixel looks in, of length 1; undefined where the model has none, far outside of the picture.
 * @param u pixels from the centre of the left column
 * @param v pixels from the centre of the top row
 */
export function directionOfPixel(lens: CameraLens, u: number, v: number): Direction | undefined {
  const x = (u - lens.cx) / lens.fx;
  const y = (v - lens.cy) / lens.fy;
  if (lens.distortionModel === 'equidistant') {
    const bent = Math.hypot(x, y);
    const theta = straightenAngle(lens.distortion, bent);
    if (theta === undefined) return undefined;
    const scale = bent > 0 ? Math.sin(theta) / bent : 0;
    return [x * scale, y * scale, Math.cos(theta)];
  }
  const straight = straightenPinhole(lens.distortion, x, y);
  if (straight === undefined) return undefined;
  const length = Math.hypot(straight[0], straight[1], 1);
  return [straight[0] / length, straight[1] / length, 1 / length];
}

/**
 * The same lens for pictures of another size, as a camera makes them that scales the whole of its sensor.
 * @throws SdkError ERR_CONFIG_INVALID where the sides have another ratio: such a picture is cut, and nobody knows where
 */
export function lensForSize(lens: CameraLens, width: number, height: number): CameraLens {
  if (lens.width === width && lens.height === height) return lens;
  const scaleX = width / lens.width;
  const scaleY = height / lens.height;
  // A size is a whole number: 1920×1080 scaled to 640 wide is 360 high, 1366×768 is not quite 16:9.
  if (Math.abs(lens.height * scaleX - height) > 1)
    throw new SdkError(
      'ERR_CONFIG_INVALID',
      `Expected a calibration for pictures of ${width}×${height}, but this one is for ${lens.width}×${lens.height}, whose sides have another ratio: calibrate the camera at the size that it runs with.`,
      { details: { expected: [width, height], received: [lens.width, lens.height] } },
    );
  const { accuracy } = lens;
  return {
    ...lens,
    width,
    height,
    fx: lens.fx * scaleX,
    fy: lens.fy * scaleY,
    // Of pixel centres: half a pixel of the one size is not half a pixel of the other.
    cx: (lens.cx + 0.5) * scaleX - 0.5,
    cy: (lens.cy + 0.5) * scaleY - 0.5,
    accuracy: accuracy && {
      fx: accuracy.fx * scaleX,
      fy: accuracy.fy * scaleY,
      cx: accuracy.cx * scaleX,
      cy: accuracy.cy * scaleY,
      rms: accuracy.rms * scaleX,
    },
  };
}

function bendPinhole(coefficients: readonly number[], x: number, y: number): [x: number, y: number] {
  const [k1 = 0, k2 = 0, p1 = 0, p2 = 0, k3 = 0, k4 = 0, k5 = 0, k6 = 0] = coefficients;
  const r2 = x * x + y * y;
  const radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)));
  return [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y];
}

const STEPS = 40;
const CLOSE_ENOUGH = 1e-10;

/** Newton's method with a numeric derivative; distortion is a small change near a root. */
function straightenPinhole(coefficients: readonly number[], toX: number, toY: number): [number, number] | undefined {
  let x = toX;
  let y = toY;
  for (let step = 0; step < STEPS; step++) {
    const [atX, atY] = bendPinhole(coefficients, x, y);
    const missX = atX - toX;
    const missY = atY - toY;
    if (Math.hypot(missX, missY) < CLOSE_ENOUGH) return growsUpTo(coefficients, x, y) ? [x, y] : undefined;
    const h = 1e-6;
    const [rightX, rightY] = bendPinhole(coefficients, x + h, y);
    const [belowX, belowY] = bendPinhole(coefficients, x, y + h);
    const [xx, yx] = [(rightX - atX) / h, (rightY - atY) / h];
    const [xy, yy] = [(belowX - atX) / h, (belowY - atY) / h];
    const determinant = xx * yy - xy * yx;
    // Beyond its turning point the model folds back: no direction is seen there.
    if (!(determinant > 1e-6)) return undefined;
    x -= (missX * yy - missY * xy) / determinant;
    y -= (missY * xx - missX * yx) / determinant;
  }
  return undefined;
}

/** Whether the model is one-to-one from the axis to here: beyond a turning point it repeats what lies further inside. */
function growsUpTo(coefficients: readonly number[], x: number, y: number): boolean {
  let last = 0;
  for (let part = 1; part <= 16; part++) {
    const bent = Math.hypot(...bendPinhole(coefficients, (x * part) / 16, (y * part) / 16));
    if (bent < last) return false;
    last = bent;
  }
  return true;
}

function bendAngle([k1 = 0, k2 = 0, k3 = 0, k4 = 0]: readonly number[], theta: number): number {
  const t2 = theta * theta;
  return theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))));
}

function straightenAngle(coefficients: readonly number[], bent: number): number | undefined {
  const [k1 = 0, k2 = 0, k3 = 0, k4 = 0] = coefficients;
  let theta = Math.min(bent, Math.PI / 2);
  for (let step = 0; step < STEPS; step++) {
    const miss = bendAngle(coefficients, theta) - bent;
    if (Math.abs(miss) < CLOSE_ENOUGH) return theta >= 0 && theta <= Math.PI ? theta : undefined;
    const t2 = theta * theta;
    const slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)));
    if (!(slope > 1e-6)) return undefined;
    theta -= miss / slope;
  }
  return undefined;
}
