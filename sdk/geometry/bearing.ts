/** Where in the world something is that a calibrated camera sees: its direction, and where it stands on the floor. */
import type { Bearing, Box, FloorPoint, GroundedObject } from '../core/types.js';
import { type CameraLens, type Direction, directionOfPixel, lensForSize } from './lens.js';

/**
 * How a camera is mounted, in the axes of REP 103 and 105 of ROS: x forward, y to the left, z up, rotations right-handed.
 * All zero: on the floor, looking straight ahead.
 */
export interface CameraMounting {
  /** Above the floor. */
  readonly heightMetres: number;
  /** Of the camera in the robot's base: how far before and to the left of its origin. Default 0. */
  readonly forwardMetres?: number | undefined;
  readonly leftMetres?: number | undefined;
  /** Positive: turned to the left. Default 0. */
  readonly yawDegrees?: number | undefined;
  /** Positive: looks down. Default 0. */
  readonly pitchDegrees?: number | undefined;
  /** Positive: its right side lower. Default 0. */
  readonly rollDegrees?: number | undefined;
  /** Standard deviations of angles and height. Default 0.5 degrees and 0.01 m. */
  readonly angleSigmaDegrees?: number | undefined;
  readonly heightSigmaMetres?: number | undefined;
}

/** Both for one box. */
export interface WorldPosition {
  readonly bearing: Bearing;
  readonly floor?: FloorPoint | undefined;
}

/** Models draw the edges of boxes about this well, as a part of the box's side. */
const BOX_EDGE_SIGMA = 0.05;
/** Beyond this the floor is so close to the horizon that a distance means nothing. */
const MAX_FLOOR_METRES = 1_000;
const DEGREES = 180 / Math.PI;

/**
 * Where a box is.
 * @param box normalised to the frame, whose size the lens is for (`lensForSize`)
 * @returns undefined where the lens's model has no direction for the box
 */
export function locateBox(lens: CameraLens, box: Box, mounting?: CameraMounting): WorldPosition | undefined {
  const at = pixelOf(lens, (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2);
  const bearing = bearingOf(lens, at, pixelSigmas(lens, box), mounting);
  if (bearing === undefined) return undefined;
  const floor = mounting === undefined ? undefined : floorPointOf(lens, box, mounting);
  return { bearing, ...(floor === undefined ? {} : { floor }) };
}

/** What is known of a camera: `parseCameraInfo` reads the lens. */
export interface CameraPlacement {
  readonly lens: CameraLens;
  /** Left out: bearings are against the axis of the camera, and there are no floor points. */
  readonly mounting?: CameraMounting | undefined;
}

/**
 * The same objects with `bearing` and, with a mounting, `floor`. Objects that the lens's model has no direction for, and
 * those above the horizon, stay without.
 * @param frame the size of the picture that the boxes are of, pixels
 * @throws SdkError ERR_CONFIG_INVALID for a picture whose sides have another ratio than those that the lens is for
 */
export function locateObjects(
  objects: readonly GroundedObject[],
  frame: { readonly width: number; readonly height: number },
  { lens, mounting }: CameraPlacement,
): GroundedObject[] {
  const fitting = lensForSize(lens, frame.width, frame.height);
  return objects.map((object) => ({ ...object, ...locateBox(fitting, object.box, mounting) }));
}

/** From the frame's sides to the centres of its pixels. */
function pixelOf(lens: CameraLens, x: number, y: number): [u: number, v: number] {
  return [x * lens.width - 0.5, y * lens.height - 0.5];
}

function pixelSigmas(lens: CameraLens, box: Box): [u: number, v: number] {
  const { rms = 0, cx = 0, cy = 0 } = lens.accuracy ?? {};
  return [
    Math.hypot(rms, cx, BOX_EDGE_SIGMA * (box.x2 - box.x1) * lens.width),
    Math.hypot(rms, cy, BOX_EDGE_SIGMA * (box.y2 - box.y1) * lens.height),
  ];
}

/** Radians. */
function anglesOf([x, y, z]: Direction): [azimuth: number, elevation: number] {
  return [Math.atan2(y, x), Math.atan2(z, Math.hypot(x, y))];
}

/** In the axes of the base: x forward, y left, z up. */
function lookAlong(
  lens: CameraLens,
  [u, v]: readonly [number, number],
  mounting: CameraMounting | undefined,
): Direction | undefined {
  const seen = directionOfPixel(lens, u, v);
  if (seen === undefined) return undefined;
  const [right, down, ahead] = seen;
  const unturned: Direction = [ahead, -right, -down];
  if (mounting === undefined) return unturned;
  const { rollDegrees = 0, pitchDegrees = 0, yawDegrees = 0 } = mounting;
  return turnZ(turnY(turnX(unturned, rollDegrees), pitchDegrees), yawDegrees);
}

function bearingOf(
  lens: CameraLens,
  at: [u: number, v: number],
  sigmas: readonly [u: number, v: number],
  mounting: CameraMounting | undefined,
): Bearing | undefined {
  const direction = lookAlong(lens, at, mounting);
  if (direction === undefined) return undefined;
  const [azimuth, elevation] = anglesOf(direction);
  const changes: [number, number][] = [];
  for (const [du, dv] of [
    [sigmas[0], 0],
    [0, sigmas[1]],
    // A focal length that is wrong by a part moves every pixel by that part of its distance from the axis.
    [((at[0] - lens.cx) * (lens.accuracy?.fx ?? 0)) / lens.fx, 0],
    [0, ((at[1] - lens.cy) * (lens.accuracy?.fy ?? 0)) / lens.fy],
  ] as const) {
    const moved = lookAlong(lens, [at[0] + du, at[1] + dv], mounting);
    if (moved === undefined) continue;
    const [movedAzimuth, movedElevation] = anglesOf(moved);
    changes.push([wrapped(movedAzimuth - azimuth) * Math.cos(elevation), movedElevation - elevation]);
  }
  const sideways = Math.hypot(...changes.map(([change]) => change)) * DEGREES;
  const upwards = Math.hypot(...changes.map(([, change]) => change)) * DEGREES;
  const ofMounting = mounting === undefined ? 0 : angleSigma(mounting);
  return {
    azimuthDegrees: azimuth * DEGREES,
    elevationDegrees: elevation * DEGREES,
    sigmaDegrees: Math.hypot(Math.max(sideways, upwards), ofMounting),
    frame: mounting === undefined ? 'camera' : 'base',
  };
}

function floorPointOf(lens: CameraLens, box: Box, mounting: CameraMounting): FloorPoint | undefined {
  const foot = pixelOf(lens, (box.x1 + box.x2) / 2, box.y2);
  const point = meetFloor(lens, foot, mounting);
  if (point === undefined) return undefined;
  const [sigmaU, sigmaV] = pixelSigmas(lens, box);
  const angle = angleSigma(mounting);
  const { pitchDegrees = 0, yawDegrees = 0, rollDegrees = 0, heightMetres, heightSigmaMetres = 0.01 } = mounting;
  const moved = [
    meetFloor(lens, [foot[0] + sigmaU, foot[1]], mounting),
    // Downwards: upwards may lie above the horizon.
    meetFloor(lens, [foot[0], foot[1] + sigmaV], mounting),
    meetFloor(lens, foot, { ...mounting, pitchDegrees: pitchDegrees + angle }),
    meetFloor(lens, foot, { ...mounting, yawDegrees: yawDegrees + angle }),
    meetFloor(lens, foot, { ...mounting, rollDegrees: rollDegrees + angle }),
    meetFloor(lens, foot, { ...mounting, heightMetres: heightMetres + heightSigmaMetres }),
  ].filter((other) => other !== undefined);
  // The larger axis of the covariance's ellipse.
  let xx = 0;
  let yy = 0;
  let xy = 0;
  for (const [x, y] of moved) {
    xx += (x - point[0]) ** 2;
    yy += (y - point[1]) ** 2;
    xy += (x - point[0]) * (y - point[1]);
  }
  const sigmaMetres = Math.sqrt((xx + yy) / 2 + Math.hypot((xx - yy) / 2, xy));
  return { xMetres: point[0], yMetres: point[1], sigmaMetres };
}

/** undefined at and above the horizon. */
function meetFloor(lens: CameraLens, pixel: readonly [number, number], mounting: CameraMounting) {
  const direction = lookAlong(lens, pixel, mounting);
  if (direction === undefined || !(direction[2] < 0)) return undefined;
  const { heightMetres, forwardMetres = 0, leftMetres = 0 } = mounting;
  const length = heightMetres / -direction[2];
  if (!(length > 0) || length > MAX_FLOOR_METRES) return undefined;
  return [forwardMetres + direction[0] * length, leftMetres + direction[1] * length] as const;
}

function angleSigma({ angleSigmaDegrees = 0.5 }: CameraMounting): number {
  return angleSigmaDegrees;
}

function turnX([x, y, z]: Direction, degrees: number): Direction {
  const [sin, cos] = [Math.sin(degrees / DEGREES), Math.cos(degrees / DEGREES)];
  return [x, y * cos - z * sin, y * sin + z * cos];
}

function turnY([x, y, z]: Direction, degrees: number): Direction {
  const [sin, cos] = [Math.sin(degrees / DEGREES), Math.cos(degrees / DEGREES)];
  return [x * cos + z * sin, y, -x * sin + z * cos];
}

function turnZ([x, y, z]: Direction, degrees: number): Direction {
  const [sin, cos] = [Math.sin(degrees / DEGREES), Math.cos(degrees / DEGREES)];
  return [x * cos - y * sin, x * sin + y * cos, z];
}

function wrapped(angle: number): number {
  return Math.atan2(Math.sin(angle), Math.cos(angle));
}
