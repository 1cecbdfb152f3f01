/** Options that every long call takes. Aborting rejects with `signal.reason`, never with an error of ours. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export type PixelFormat = 'rgb8' | 'bgr8';

/**
 * One picture of a camera or file. `data` is row-major, 3 bytes a pixel, no row padding: `[height, width, 3]`.
 * The pixels belong to the receiver (frames are copied out of the capture ring once, on read).
 */
export interface Frame {
  /** Unique within a camera's run, for example `cam0-000123`. Two cameras may give the same one. */
  readonly id: string;
  /** Unix time of capture, milliseconds: a stamp. */
  readonly capturedAtMs: number;
  /** The same by the monotonic clock (`systemClock.monotonicMs()`): for its age. */
  readonly capturedAtMonotonicMs?: number | undefined;
  /** Count of frames that the source has produced, skipped ones included. */
  readonly sequence: number;
  readonly width: number;
  readonly height: number;
  readonly format: PixelFormat;
  readonly data: Uint8Array;
  /** Position in the clip, milliseconds; only for file sources. */
  readonly mediaTimeMs?: number | undefined;
}

/** Axis-aligned box, normalised to the source frame: 0 = left/top, 1 = right/bottom. */
export interface Box {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
}

/** Something that an answer points at, with where the box came from and how sure that source is. */
export interface GroundedObject {
  readonly label: string;
  /** Normalised 0–1 in the source frame. */
  readonly box: Box;
  /** Whole pixels in the source frame: `[x1, y1, x2, y2]`, x2/y2 exclusive. */
  readonly boxPixels: readonly [number, number, number, number];
  /** Where the model looked most, normalised as the box. Only of `attention`. */
  readonly peak?: { readonly x: number; readonly y: number } | undefined;
  /** 0–1; what it means depends on `source`. */
  readonly score: number;
  readonly source: 'text' | 'attention' | 'detector';
  /**
   * Whether the model, asked about the cut-out alone, said that this is there; where the model folder knows from which
   * score on a box holds, whether it does. Absent: it was not asked.
   */
  readonly verified?: boolean | undefined;
  /** The same thing has the same number from frame to frame; counts from 1 within a camera's run. Absent: not followed. */
  readonly trackId?: number | undefined;
  /** Where it is seen. Absent: nobody knows the lens of the camera. */
  readonly bearing?: Bearing | undefined;
  /** Where it stands. Absent: nobody knows how the camera is mounted, or it is at or above the horizon. */
  readonly floor?: FloorPoint | undefined;
}

/** The direction of a box's centre. */
export interface Bearing {
  /** Positive to the left. */
  readonly azimuthDegrees: number;
  /** Positive upwards. */
  readonly elevationDegrees: number;
  /** Standard deviation of either. */
  readonly sigmaDegrees: number;
  /** What they are measured against: the axis of the camera, or the robot's base where the mounting is known. */
  readonly frame: 'camera' | 'base';
}

/** Where a thing stands, if it stands on the floor: below the middle of its box's lower edge. */
export interface FloorPoint {
  /** Forward of the base's origin. */
  readonly xMetres: number;
  /** To its left. */
  readonly yMetres: number;
  /** Standard deviation in the direction in which it is largest, as a rule away from the camera. */
  readonly sigmaMetres: number;
}
