/** What `scenebus_capture.node` exports (native/addon/capture). Loaded by the capture host process only. */
export type OpenCvBackend = 'FFMPEG' | 'GSTREAMER' | 'V4L2' | 'CV_MJPEG';

/** One way to open a video; see native/capture/captureConfig.h. */
export interface OpenAttempt {
  readonly backend: OpenCvBackend;
  /** Pipeline, path or URL; unused with `deviceIndex` ≥ 0. */
  readonly target: string;
  readonly deviceIndex: number;
  readonly requestFormat: boolean;
}

export interface NativeCaptureOptions {
  readonly loop: boolean;
  /** Before rotation; 0 = as it comes. */
  readonly width: number;
  readonly height: number;
  readonly fps: number;
  /** Whether mirror and rotation hold what the file says of its pictures' orientation. */
  readonly hasOrientation: boolean;
  /** Left and right swapped, before the rotation. */
  readonly mirror: boolean;
  /** Degrees clockwise. */
  readonly rotation: number;
  readonly ringSlots: number;
  readonly openTimeoutMs: number;
  readonly readTimeoutMs: number;
  /** 0: a picture may stay unchanged forever. */
  readonly frozenAfterMs: number;
}

export type NativeCaptureSource =
  | {
      readonly kind: 'video';
      readonly attempts: readonly OpenAttempt[];
      readonly isFile: boolean;
      readonly mayBeFile: boolean;
    }
  | { readonly kind: 'test'; readonly pattern: string; readonly patternFrames: number }
  /** Pictures that JavaScript decodes. */
  | { readonly kind: 'feed' };

/** What one life of a capture host is told of the lives before it. */
export interface NativeSessionFacts {
  readonly firstSequence: number;
  readonly doorbellFd: number;
  readonly frozenHash: string;
  readonly clipHash: string;
}

export type NativeCaptureConfig = NativeCaptureSource & NativeCaptureOptions & NativeSessionFacts;

export interface NativeCaptureEvent {
  readonly type: 'ring' | 'warning' | 'frozen' | 'moving' | 'ended' | 'failed' | 'stopped';
  readonly ringName: string;
  readonly width: number;
  readonly height: number;
  readonly framesPerSecond: number;
  readonly isPaced: boolean;
  readonly backend: string;
  /** frozen: of the picture; ended: of the first picture when the end is a guess, else empty. */
  readonly pictureHash: string;
  readonly code: string;
  readonly message: string;
  /** Last event: how many there were. */
  readonly frames: number;
}

/** rgb8 `[height, width, 3]`. */
export interface FedPicture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
  /** Negative: none. */
  readonly mediaTimeMs: number;
  readonly isPaced: boolean;
  readonly backend: string;
}

/** A ring that JavaScript writes pictures into. */
export interface NativeFeed {
  /** Throws an Error with a `code` of the table for a picture beyond the limits, or without shared memory. */
  push(picture: FedPicture): void;
  /** Sign of life while no picture is due. */
  beat(): void;
  end(): void;
}

export interface NativeVideoDevice {
  readonly state: 'ready' | 'missing' | 'denied' | 'busy' | 'notVideo' | 'noCapture' | 'failed';
  readonly card: string;
  readonly message: string;
}

declare module '../../native/addon-types.js' {
  interface CaptureAddon {
    /** The ring lives as long as the returned object. `onEvent`'s last event is ended, failed or stopped. */
    startCapture(config: NativeCaptureConfig, onEvent: (event: NativeCaptureEvent) => void): { stop(): void };
    /** Events are ring, frozen and moving only, given while `push` runs. */
    openFeed(config: NativeCaptureConfig, onEvent: (event: NativeCaptureEvent) => void): NativeFeed;
    openCvBuild(): { readonly version: string; readonly backends: readonly string[]; readonly information: string };
    probeVideoDevice(path: string): NativeVideoDevice;
    /** Those that GStreamer here does not have; empty when it cannot be asked. */
    missingGstElements(names: readonly string[]): string[];
    /** Unlinks shared memory of hosts that were killed; returns how many. */
    removeStaleRings(): number;
    /** SIGTERM when the parent is gone. */
    followParent(): void;
    exitNow(code: number): never;
  }
}
