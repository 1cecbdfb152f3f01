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
  readonly rotation: number;
  readonly ringSlots: number;
}

export type NativeCaptureSource =
  | {
      readonly kind: 'video';
      readonly attempts: readonly OpenAttempt[];
      readonly isFile: boolean;
      readonly mayBeFile: boolean;
    }
  | { readonly kind: 'images'; readonly directory: string }
  | { readonly kind: 'test'; readonly pattern: string; readonly patternFrames: number };

export type NativeCaptureConfig = NativeCaptureSource &
  NativeCaptureOptions & { readonly firstSequence: number; readonly doorbellFd: number };

export interface NativeCaptureEvent {
  readonly type: 'ring' | 'warning' | 'ended' | 'failed' | 'stopped';
  readonly ringName: string;
  readonly width: number;
  readonly height: number;
  readonly framesPerSecond: number;
  readonly backend: string;
  readonly code: string;
  readonly message: string;
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
