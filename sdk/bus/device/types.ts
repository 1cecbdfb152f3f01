/** The device's side of the bus, as the service and programs see it. */
import type { Clock } from '../../core/clock.js';
import type { GroundedObject } from '../../core/types.js';
import type { AskRequest, CameraStatusPayload, Health, Info } from '../contract/schemas/index.js';
import type { BusTopics } from '../contract/topics.js';
import type { BusState, ConnectionOptions, ProtocolVersion, PublishResult } from '../transport/types.js';

export interface BusOptions extends ConnectionOptions {
  /** Topic root, default `scenebus`; may have several levels. */
  readonly root?: string | undefined;
  /** Name of this device in topics. */
  readonly device: string;
  /** Topic filters that callers may choose response topics from. Default `<root>/#`; topics that devices own never. */
  readonly responseTopics?: readonly string[] | undefined;
  /** Life of a scene on the broker and in `expiresTs`. Default 300. */
  readonly sceneExpirySeconds?: number | undefined;
  /** How long the broker waits before it says offline (MQTT 5). Default 5. */
  readonly willDelaySeconds?: number | undefined;
  /** Deadline of a question that names none. Default 120 000. */
  readonly requestTimeoutMs?: number | undefined;
  /** Questions accepted and not yet answered; more get ERR_BUSY. Default LIMITS.requestQueueLength. */
  readonly requestQueueLength?: number | undefined;
  /** Answers kept while the broker is away. Default LIMITS.busOfflineQueueLength. */
  readonly offlineQueueLength?: number | undefined;
  /** For tests. */
  readonly clock?: Clock | undefined;
}

export interface FrameReference {
  readonly id: string;
  /** Unix time, milliseconds. */
  readonly capturedAtMs: number;
  readonly width: number;
  readonly height: number;
}

/** What a model said about a frame. A `Frame` and an `Answer` of the SDK fit as they are. */
export interface Observation {
  readonly frame: FrameReference;
  readonly answer: {
    readonly text: string;
    readonly objects: readonly GroundedObject[];
    readonly finishReason?: 'stop' | 'length' | undefined;
    /** Only finite numbers of it are published. */
    readonly usage?: object | undefined;
    readonly timings?: object | undefined;
  };
  readonly model: { readonly id: string; readonly hash?: string | undefined };
}

export interface SceneInput extends Observation {
  readonly trigger?: 'first' | 'change' | 'interval' | 'manual' | undefined;
}

export interface AskResult extends Observation {
  readonly camera?: string | undefined;
  /** What the asker should know of the picture, in words: its age when it is not of now. */
  readonly notices?: readonly string[] | undefined;
}

/** Fields that the bus fills in itself. */
export type Stamp = 'schema' | 'device' | 'run' | 'seq' | 'ts';
export type InfoInput = Omit<Info, Stamp | 'schemas' | 'verbs' | 'limits'> & {
  /** Added to the limits of the bus. */
  readonly limits?: Readonly<Record<string, number>> | undefined;
};
export type HealthInput = Omit<Health, Stamp>;
export type CameraStatusInput = Omit<CameraStatusPayload, Stamp | 'camera'>;

export interface AskContext {
  /** Aborted at the deadline (reason: SdkError ERR_REQUEST_EXPIRED) and when the bus closes. */
  readonly signal: AbortSignal;
  /** When nobody waits for the answer any more, by `systemClock.monotonicMs()`. */
  readonly deadlineMs: number;
}
export type AskHandler = (request: AskRequest, context: AskContext) => Promise<AskResult>;

/** Counters since start; all are plain numbers, ready for `health` metrics. */
export interface BusStats {
  readonly connects: number;
  readonly disconnects: number;
  readonly published: number;
  /** The broker refused or the payload was wrong. */
  readonly publishFailures: number;
  /** State values that a newer one replaced before they were sent. */
  readonly superseded: number;
  /** Answers lost because the offline queue was full. */
  readonly droppedQueueFull: number;
  /** Answers and scenes that became too old while the broker was away. */
  readonly droppedExpired: number;
  readonly queued: number;
  readonly requestsReceived: number;
  readonly requestsAnswered: number;
  readonly requestsFailed: number;
  /** Malformed, oversized, wrong schema, retained, unknown verb. */
  readonly requestsRefused: number;
  readonly requestsExpired: number;
  readonly requestsBusy: number;
  readonly requestsDuplicate: number;
  readonly responseTopicsRefused: number;
  readonly requestsActive: number;
  /** Births of another device with this name. */
  readonly nameConflicts: number;
}

export interface Bus extends AsyncDisposable {
  readonly state: BusState;
  readonly topics: BusTopics;
  /** The `run` of every payload: new with each start of the device. */
  readonly run: string;
  /** The version in use; undefined while there is no connection. */
  readonly protocolVersion: ProtocolVersion | undefined;
  /** Broker address without credentials. */
  readonly broker: string;
  readonly stats: BusStats;
  /**
   * Publishers validate against the schema first.
   * @throws SdkError ERR_ARGUMENT_INVALID (payload against the schema), ERR_BUS_REJECTED (the broker refused),
   *   ERR_DISPOSED.
   */
  publishInfo(info: InfoInput): Promise<PublishResult>;
  publishHealth(health: HealthInput): Promise<PublishResult>;
  publishCameraStatus(cameraId: string, status: CameraStatusInput): Promise<PublishResult>;
  publishScene(cameraId: string, scene: SceneInput): Promise<PublishResult>;
  /** Removes a camera's retained messages and forgets them. @throws SdkError ERR_BUS_UNREACHABLE while offline. */
  removeCamera(cameraId: string): Promise<void>;
  /** One handler; until there is one, questions get ERR_BUSY. Returns a function that takes it away. */
  onAsk(handler: AskHandler): () => void;
  /** Called on every change of `state`. Returns a function that stops it. */
  onStateChange(listener: (state: BusState) => void): () => void;
  /** Every message that left, for logs and demos. */
  onPublished(listener: (message: PublishedMessage) => void): () => void;
  /** Says `stopped`, lets running answers end with ERR_DISPOSED, and disconnects. Never hangs on a dead broker. */
  close(): Promise<void>;
}

export interface PublishedMessage {
  readonly topic: string;
  readonly payload: unknown;
  readonly retain: boolean;
}
