/** Messages between the SDK and its capture host process: a handful at start and end, none per frame. */
import type { ErrorCode } from '../../core/errors.js';
import type { CaptureAddress } from '../address.js';
import type { CameraKind } from '../camera.js';
import type { CameraSettings } from '../options.js';

/** File descriptor of the host's end of the doorbell: a byte wakes a reader that waits for a frame. */
export const DOORBELL_FD = 4;

export interface StartMessage {
  readonly type: 'start';
  readonly address: CaptureAddress;
  readonly settings: CameraSettings;
  readonly firstSequence: number;
  /**
   * Which of the planned ways to open it, from 0. Each is tried in a process of its own: OpenCV (seen with 4.6 and
   * GStreamer) can crash while it cleans up after one that failed.
   */
  readonly attempt: number;
  /** What came of the ways before it. */
  readonly earlierFailures: readonly string[];
  /**
   * Whether a failure may be looked into with a connection of our own. Many cameras have one place only, which such a
   * look takes from the next attempt.
   */
  readonly mayLook: boolean;
  /** It has turned out to be an address of single pictures. */
  readonly isSnapshot: boolean;
  /** Hash of the picture that stood still when it was last open. */
  readonly frozenHash: string;
  /** Hash of the first picture of a stream that may have been a clip: if it begins with it again, it was. */
  readonly clipHash: string;
}

export type ToHost = StartMessage | { readonly type: 'stop' };

export interface RingMessage {
  readonly type: 'ring';
  readonly name: string;
  readonly width: number;
  readonly height: number;
  /** 0 = unknown. */
  readonly framesPerSecond: number;
  /** Waits for the times of a recording. */
  readonly isPaced: boolean;
  readonly backend: string;
}

/** Sent before OpenCV is asked. */
export interface PlannedMessage {
  readonly type: 'planned';
  readonly kind: CameraKind;
  readonly loop: boolean;
  readonly isSnapshot: boolean;
  /** How many ways there are to open it. */
  readonly attempts: number;
}

export interface FailedMessage {
  readonly type: 'failed';
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
  /** OpenCV's own words, when it could not open the source: the next way may work. */
  readonly openFailure?: string | undefined;
}

export type FromHost =
  | RingMessage
  | PlannedMessage
  | { readonly type: 'warning'; readonly message: string }
  /** Frames come, but the picture stands still. */
  | { readonly type: 'frozen'; readonly pictureHash: string }
  | { readonly type: 'moving' }
  /** `clipHash`: a stream without a length ended like a clip that began with this picture; it may still be a camera. */
  | { readonly type: 'ended'; readonly clipHash: string }
  | FailedMessage;
