/** What a feature is given. It knows of cameras, the model and the hub only what is written here. */
import type { CallOptions, Camera, Frame, FramesOptions, Logger, ModelInfo, VisionLanguageModel } from 'scenebus';
import type { CameraConfig, DeviceConfig } from '../config/schema.js';
import type { EventHub } from '../events/hub.js';
import type { Problems } from '../events/problems.js';
import type { CameraPlaces } from './camera-places.js';
import type { CameraTracks } from './camera-tracks.js';

/** What a camera is and does. */
export type FeedSource = Pick<Camera, 'info' | 'status' | 'newestSequence'>;

/** A camera, as those who work on the model see it. */
export interface Feed {
  readonly id: string;
  readonly config: CameraConfig;
  /** Given up for good: no frame will come any more. */
  readonly hasFailed: boolean;
  /** How it is, without a way to its pixels. */
  readonly source: FeedSource;
  /** Frames as they come, skipping what the reader is too slow for. Ends with the source. */
  frames(options: FramesOptions): AsyncIterable<Frame>;
  /**
   * The newest frame there is; after the end of a clip, its last. Waits for a camera's first frame, not for one that is
   * known to be down: that rejects at once.
   * @throws SdkError ERR_CAPTURE_*
   */
  latestFrame(options: CallOptions): Promise<Frame>;
  /** What an answer about this frame must say of it, in words: its age when it is not of now. Empty when it is. */
  noticesFor(frame: Frame): readonly string[];
}

/** The loaded model, or a typed error while there is none. */
export interface ModelAccess {
  /** undefined while there is no model. */
  readonly info: ModelInfo | undefined;
  /** @throws SdkError ERR_ENGINE_DIED while the model is being loaded again; what the work throws. */
  use<T>(work: (model: VisionLanguageModel) => Promise<T>, signal: AbortSignal): Promise<T>;
}

/** A feature that goes on when the configuration has changed. */
export interface ReconfigurableFeature extends AsyncDisposable {
  /** Looks at the context again. Resolves when nothing of the old one is in use any more. */
  reconfigure(): Promise<void>;
}

/** `config` and `feeds` change while the device runs: look them up when they are needed. */
export interface FeatureContext {
  readonly config: DeviceConfig;
  readonly feeds: readonly Feed[];
  readonly model: ModelAccess;
  readonly hub: EventHub;
  readonly problems: Problems;
  readonly tracks: CameraTracks;
  readonly places: CameraPlaces;
  readonly logger: Logger;
  /** Milliseconds that never go back, for intervals. */
  readonly monotonicMs: () => number;
  /** The time of day, for schedules. */
  readonly now: () => Date;
}
