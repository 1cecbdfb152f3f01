/** Messages between the SDK and its capture host process: a handful at start and end, none per frame. */
import type { ErrorCode } from '../../core/errors.js';
import type { CaptureAddress } from '../address.js';
import type { CameraSettings } from '../options.js';

/** File descriptor of the host's end of the doorbell: a byte wakes a reader that waits for a frame. */
export const DOORBELL_FD = 4;

export interface StartMessage {
  readonly type: 'start';
  readonly address: CaptureAddress;
  readonly settings: CameraSettings;
  readonly firstSequence: number;
}

export type ToHost = StartMessage | { readonly type: 'stop' };

export interface RingMessage {
  readonly type: 'ring';
  readonly name: string;
  readonly width: number;
  readonly height: number;
  /** 0 = unknown. */
  readonly framesPerSecond: number;
  readonly backend: string;
}

export type FromHost =
  | RingMessage
  | { readonly type: 'resolved'; readonly kind: 'file' | 'images'; readonly loop: boolean }
  | { readonly type: 'warning'; readonly message: string }
  | { readonly type: 'ended' }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string };
