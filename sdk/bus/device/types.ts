/** The device's side of the bus, as the service and programs see it. */
import type { SdkError } from '../../core/errors.js';
import type { CameraStatusPayload, Health, Info } from '../contract/schemas/index.js';
import type { CameraSetting } from '../contract/settings.js';
import type { BusTopics } from '../contract/topics.js';
import type { VerbName } from '../contract/verbs.js';
import type { BusState, ConnectionOptions, ProtocolVersion, PublishResult } from '../transport/types.js';
import type { ClientLimitOptions } from './client-limits.js';
import type { GroupOptions, GroupStanding } from './group/groups.js';
import type { EventInput, SceneInput, WatchStateInput } from './inputs.js';
import type { AnswerKeeper, KeptAnswer } from './kept-answer.js';
import type { SettingHandler, VerbContext, VerbHandler } from './verb-results.js';

/** What can be changed while the device runs. */
export interface BusLimits {
  /** Life of a scene on the broker and in `expiresTs`. Default 300. */
  readonly sceneExpirySeconds?: number | undefined;
  /** Deadline of a question that names none. Default 120 000. */
  readonly requestTimeoutMs?: number | undefined;
  /** What one caller may ask; a caller is known by its response topic. */
  readonly clientLimits?: ClientLimitOptions | undefined;
}

/** Places outside of the device's own topics. Whole levels, not below the topic root, without wildcards. */
export interface OutwardOptions {
  /** Beginnings of topics that `publishOutward` may write below, for example `homeassistant/device`. Default: none. */
  readonly publish?: readonly string[] | undefined;
  /** Topics that `onOutward` hears, where the broker grants them. Default: none. */
  readonly listen?: readonly string[] | undefined;
}

/** A topic outside of the device's own. */
export interface OutwardTopic {
  /** One of `OutwardOptions.publish`. */
  readonly prefix: string;
  /** 1 to 16 levels below it. Each is checked: what has a `/`, `+` or `#` in it is refused. */
  readonly levels: readonly string[];
}

/** How a message outside of the device's own topics is sent. */
export interface OutwardMessage {
  /** true: a state, the latest wins and is sent again after each connect. Default false: an event. */
  readonly retain?: boolean | undefined;
  /** Of an event, as in `PublishEventOptions`. */
  readonly queue?: boolean | undefined;
  /** It may have been sent before: marked so with MQTT 5 (user property `repeated`). */
  readonly isRepeated?: boolean | undefined;
}

export interface BusOptions extends ConnectionOptions, BusLimits {
  /** Topic root, default `scenebus`; may have several levels. */
  readonly root?: string | undefined;
  /** Name of this device in topics. */
  readonly device: string;
  /** Topic filters that callers may choose response topics from. Default `<root>/#`; topics that devices own never. */
  readonly responseTopics?: readonly string[] | undefined;
  /** How long the broker waits before it says offline (MQTT 5). Default 5. */
  readonly willDelaySeconds?: number | undefined;
  /**
   * Requests taken and not yet answered; more get ERR_BUSY. Protects the memory only: how many may wait for the model
   * is decided where they wait. Default LIMITS.busUnansweredRequests.
   */
  readonly maxUnanswered?: number | undefined;
  /** Life of an event on the broker (MQTT 5). Default 300. */
  readonly eventExpirySeconds?: number | undefined;
  /** Keeps answers until they are delivered, over a restart too. Default: the bus, in bounded memory. */
  readonly keepAnswer?: AnswerKeeper | undefined;
  /** Answers kept while the broker is away. Default LIMITS.busOfflineQueueLength. */
  readonly offlineQueueLength?: number | undefined;
  /** Groups of devices of which any may answer (`<root>/group/<name>/request/…`). Default: none. */
  readonly groups?: readonly GroupOptions[] | undefined;
  /** Where else this device may publish and listen. Default: nowhere. */
  readonly outward?: OutwardOptions | undefined;
}

export interface PublishEventOptions {
  /**
   * true (default): kept while the broker is away, as far as `offlineQueueLength` goes. false: rejects with
   * ERR_BUS_UNREACHABLE instead, also when the connection ends before the acknowledgement; for callers that keep
   * their events themselves and go on after the last one that was `delivered`.
   */
  readonly queue?: boolean | undefined;
}

/** Fields that the bus fills in itself. */
export type Stamp = 'schema' | 'device' | 'run' | 'seq' | 'ts';
export type InfoInput = Omit<Info, Stamp | 'schemas' | 'verbs' | 'limits'> & {
  /** Added to the limits of the bus. */
  readonly limits?: Readonly<Record<string, number>> | undefined;
};
export type HealthInput = Omit<Health, Stamp>;
export type CameraStatusInput = Omit<CameraStatusPayload, Stamp | 'camera'>;

export type AskContext = VerbContext;
export type AskHandler = VerbHandler<'ask'>;

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
  /** Setting commands that were malformed, retained, or could not be carried out. */
  readonly commandsRefused: number;
  /** Births of another device with this name. */
  readonly nameConflicts: number;
}

export interface Bus extends AsyncDisposable {
  readonly state: BusState;
  /** Why there is no connection, when an attempt has failed: ERR_BUS_UNREACHABLE, ERR_BUS_REJECTED. */
  readonly failure: SdkError | undefined;
  readonly topics: BusTopics;
  /** How this device stands in its groups. */
  readonly groups: readonly GroupStanding[];
  /**
   * Says why this device should be asked nothing by its groups, for example that no camera works; undefined: it works.
   * Requests to the device itself are answered as ever.
   */
  standInGroups(reason: string | undefined): void;
  /** The `run` of every payload: new with each start of the device. */
  readonly run: string;
  /** The version in use; undefined while there is no connection. */
  readonly protocolVersion: ProtocolVersion | undefined;
  /** Broker address without credentials. */
  readonly broker: string;
  readonly stats: BusStats;
  /** Replaces the limits that it was connected with; what is left out is the default again. `info` tells of them. */
  setLimits(limits: BusLimits): void;
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
  /**
   * Publishes what a watch found, in order and not retained.
   * @throws SdkError as the other publishers; ERR_BUS_UNREACHABLE with `queue: false`.
   */
  publishEvent(cameraId: string, event: EventInput, options?: PublishEventOptions): Promise<PublishResult>;
  /**
   * Sends an answer that `keepAnswer` has taken over.
   * @param options.isRepeated it may have been sent before: marked so with MQTT 5 (user property `repeated`)
   * @throws SdkError ERR_BUS_UNREACHABLE when the broker is away or the connection ends before the acknowledgement,
   *   ERR_REQUEST_EXPIRED when nobody waits for it any more, ERR_BUS_REJECTED, ERR_DISPOSED.
   */
  sendAnswer(answer: KeptAnswer, options?: { readonly isRepeated?: boolean | undefined }): Promise<PublishResult>;
  publishWatchState(cameraId: string, watchId: string, state: WatchStateInput): Promise<PublishResult>;
  publishCameraSetting(cameraId: string, setting: CameraSetting, value: boolean): Promise<PublishResult>;
  /** Removes the retained states of a watch and forgets them. @throws SdkError ERR_BUS_UNREACHABLE while offline. */
  removeWatch(watchId: string): Promise<void>;
  /**
   * Registers the handler of a verb: one each, typed by the contract (`RequestOf<Verb>` in, `ResultOf<Verb>` out). The
   * verb then stands in `info`. Verbs that never had a handler are refused with ERR_REQUEST_UNSUPPORTED; once it is
   * taken away again, and `ask` before its first one, callers get ERR_BUSY. `health` answers with what was last
   * published unless it gets a handler of its own.
   * @returns a function that takes the handler away.
   * @example
   * bus.handle('snapshot', async ({ camera }, { signal }) => ({ camera, frame, jpeg, width: 640, height: 480 }));
   */
  handle<Verb extends VerbName>(verb: Verb, handler: VerbHandler<Verb>): () => void;
  /** `handle('ask', handler)`. */
  onAsk(handler: AskHandler): () => void;
  /**
   * Takes commands to camera settings. The handler does what is asked and publishes the new state with
   * `publishCameraSetting`; when it throws, and for a refused command, the state that holds is published again.
   */
  onSetting(handler: SettingHandler): () => void;
  /**
   * Publishes JSON of a form that is not of the contract, at a place that the bus was connected with.
   * @throws SdkError ERR_ARGUMENT_INVALID (another place, a level that cannot be one, over 256 KiB),
   *   ERR_LIMIT_EXCEEDED (over 64 retained topics), ERR_BUS_REJECTED, ERR_DISPOSED; ERR_BUS_UNREACHABLE with
   *   `queue: false`.
   */
  publishOutward(topic: OutwardTopic, payload: object, message?: OutwardMessage): Promise<PublishResult>;
  /** Removes a retained message there. @throws SdkError ERR_ARGUMENT_INVALID; ERR_BUS_UNREACHABLE while offline. */
  removeOutward(topic: OutwardTopic): Promise<void>;
  /** Hears what others say on `outward.listen`, up to 1 KiB of text each. Returns a function that ends it. */
  onOutward(listener: (topic: string, text: string) => void): () => void;
  /** Called on every change of `state`, and while `offline` when `failure` is another. Returns a function that stops it. */
  onStateChange(listener: (state: BusState) => void): () => void;
  /**
   * Every message that the broker acknowledged, for logs and demos. Blind in an outage: what must know of results
   * listens to where they come from, and publishes from there.
   */
  onPublished(listener: (message: PublishedMessage) => void): () => void;
  /**
   * Every message that came from the broker, before anything has looked at it: whatever strangers sent. For logs and
   * inspectors.
   */
  onReceived(listener: (message: ReceivedMessage) => void): () => void;
  /** Says `stopped`, lets running answers end with ERR_DISPOSED, and disconnects. Never hangs on a dead broker. */
  close(): Promise<void>;
}

/** A message as it left. */
export interface PublishedMessage {
  readonly topic: string;
  readonly payload: unknown;
  readonly retain: boolean;
}

/** A message as it came. */
export interface ReceivedMessage {
  readonly topic: string;
  /** The bytes. */
  readonly payload: Uint8Array;
  readonly retain: boolean;
}
