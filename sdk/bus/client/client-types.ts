/** The caller's side of the bus, as programs see it. */
import type { z } from 'zod';
import type { CallOptions } from '../../core/types.js';
import type { GroupVerb } from '../contract/group-topics.js';
import type {
  Availability,
  CameraSettingState,
  CameraStatusPayload,
  Health,
  Info,
  Scene,
  WatchChanges,
  WatchDefinition,
  WatchEvent,
  WatchReport,
  WatchState,
} from '../contract/schemas/index.js';
import type { CameraSetting } from '../contract/settings.js';
import type { ResponseOf, VERBS, VerbName } from '../contract/verbs.js';
import type { BusState, ConnectionOptions, ProtocolVersion } from '../transport/types.js';
import type { FleetDevice, FleetOptions } from './fleet.js';

export interface ClientOptions extends ConnectionOptions {
  /** Topic root of the devices, default `scenebus`. */
  readonly root?: string | undefined;
}

/** What a caller says in a request; the rest is filled in. */
export type Query<Verb extends VerbName> = Omit<
  z.input<(typeof VERBS)[Verb]['request']>,
  'schema' | 'transaction' | 'responseTopic' | 'timeoutMs' | 'deadlineMs' | 'stream'
>;
/** What a caller asks, with the details of `ask`. */
export type Question = Query<'ask'>;

export interface RequestOptions extends CallOptions {
  /** Default 120 000. The device gets it as its deadline. */
  readonly timeoutMs?: number | undefined;
}

export interface AskOptions extends RequestOptions {
  /** Called with each piece of the text as it comes; the whole is in the reply. */
  readonly onText?: ((text: string) => void) | undefined;
}

/** `data` of a response with where it comes from: which device, frame and model; `group` where one was asked. */
export type ModelReply<Verb extends 'ask' | 'describe' | 'locate'> = ResponseOf<Verb>['data'] &
  Pick<ResponseOf<Verb>, 'device' | 'camera' | 'frameId' | 'frameTs' | 'model' | 'generatedByModel' | 'group'>;
/** The answer with its provenance: what was said, on which frame, by which model. */
export type AskReply = ModelReply<'ask'>;
/** A description with its provenance. */
export type DescribeReply = ModelReply<'describe'>;
/** Boxes with their provenance. */
export type LocateReply = ModelReply<'locate'>;

export interface SnapshotReply extends Pick<ResponseOf<'snapshot'>, 'device' | 'camera' | 'frameId' | 'frameTs'> {
  /** The JPEG file. */
  readonly jpeg: Uint8Array;
  /** Of the JPEG, pixels. */
  readonly width: number;
  readonly height: number;
}

/** Frames that were found, and how. */
export type FindReply = ResponseOf<'find'>['data'] & Pick<ResponseOf<'find'>, 'device'>;

export interface WatchOptions extends CallOptions {
  /** Only this camera. */
  readonly camera?: string | undefined;
}

export interface EventOptions extends WatchOptions {
  /** Only this watch. */
  readonly watch?: string | undefined;
}

export interface ListenOptions {
  /** Told why nothing more will come; left out: it is logged. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/** What is asked of any device of a group. */
export type GroupQuery<Verb extends GroupVerb> = Omit<Query<Verb>, 'group'>;

/**
 * Several devices of which any one answers. Its name is in the reply. When its device goes
 * away, refuses because it is busy, or has not answered when half of the time is over, another one is asked, once. What
 * nobody takes within 5 s, or is under way when the connection is lost, is sent again.
 */
export interface BusGroup {
  readonly name: string;
  /**
   * Asks about the newest frame of whichever device takes it.
   * @throws SdkError ERR_BUS_UNREACHABLE (no device takes it), ERR_BUS_TIMEOUT, and the codes with which the last
   *   device answered; `signal.reason` when aborted.
   */
  ask(question: string | GroupQuery<'ask'>, options?: AskOptions): Promise<AskReply>;
  /** A description made now. @throws as `ask`. */
  describe(query?: GroupQuery<'describe'>, options?: AskOptions): Promise<DescribeReply>;
  /** Boxes of objects by their names. @throws as `ask`. */
  locate(objects: string | readonly string[] | GroupQuery<'locate'>, options?: RequestOptions): Promise<LocateReply>;
}

export interface BusClient extends AsyncDisposable {
  readonly state: BusState;
  readonly protocolVersion: ProtocolVersion | undefined;
  /** Broker address without credentials. */
  readonly broker: string;
  /**
   * Asks a device about its newest frame.
   * @throws SdkError ERR_BUS_UNREACHABLE (the device is not there), ERR_BUS_TIMEOUT, ERR_BUSY (with
   *   `details.retryAfterMs`) and the other codes with which a device answers; `signal.reason` when aborted.
   */
  ask(device: string, question: string | Question, options?: AskOptions): Promise<AskReply>;
  /** A description made now. @throws as `ask`. */
  describe(device: string, query?: Query<'describe'>, options?: AskOptions): Promise<DescribeReply>;
  /** Boxes of objects by their names. @throws as `ask`. */
  locate(
    device: string,
    objects: string | readonly string[] | Query<'locate'>,
    options?: RequestOptions,
  ): Promise<LocateReply>;
  /** The picture, where the device allows it. @throws as `ask`. */
  snapshot(device: string, query?: Query<'snapshot'>, options?: RequestOptions): Promise<SnapshotReply>;
  /** Kept frames of what a text describes, the best first. @throws as `ask`; ERR_JOURNAL_UNAVAILABLE. */
  find(device: string, text: string | Query<'find'>, options?: RequestOptions): Promise<FindReply>;
  /** Adds a standing question; what it finds comes with `onEvent`. @throws as `ask`. */
  watch(device: string, watch: WatchDefinition, options?: RequestOptions): Promise<WatchReport>;
  changeWatch(device: string, id: string, changes: WatchChanges, options?: RequestOptions): Promise<WatchReport>;
  removeWatch(device: string, id: string, options?: RequestOptions): Promise<void>;
  listWatches(device: string, options?: RequestOptions): Promise<readonly WatchReport[]>;
  /** Any verb of the contract, with the whole response. @throws as `ask`. */
  request<Verb extends VerbName>(
    device: string,
    verb: Verb,
    query: Query<Verb>,
    options?: AskOptions,
  ): Promise<ResponseOf<Verb>>;
  /**
   * A group of devices by its name.
   * @throws SdkError ERR_ARGUMENT_INVALID for a name that cannot be a topic level: with a wildcard, for example.
   */
  group(name: string): BusGroup;
  /**
   * The devices at the broker: presence, info, health and groups as they say them within `waitMs`.
   * @throws SdkError ERR_BUS_REJECTED where the account may not read them; `signal.reason` when aborted.
   */
  fleet(options?: FleetOptions): Promise<readonly FleetDevice[]>;
  /** Switches a camera's setting; `cameraSettings` tells what holds. Resolves when the broker has the command. */
  setCamera(
    device: string,
    camera: string,
    setting: CameraSetting,
    value: boolean,
    options?: CallOptions,
  ): Promise<void>;
  /**
   * Scenes of a device, or of all with `'*'`: the retained one first, then each new one. A slow reader skips to the
   * newest of each camera. Ends when the client closes.
   */
  scenes(device: string, options?: WatchOptions): AsyncIterableIterator<Scene>;
  /** Events of watches, every one in order. */
  events(device: string, options?: EventOptions): AsyncIterableIterator<WatchEvent>;
  /** How watches stand: the retained states first, then each change. */
  watchStates(device: string, options?: EventOptions): AsyncIterableIterator<WatchState>;
  cameraStatuses(device: string, options?: WatchOptions): AsyncIterableIterator<CameraStatusPayload>;
  cameraSettings(device: string, options?: WatchOptions): AsyncIterableIterator<CameraSettingState>;
  availability(device: string, options?: CallOptions): AsyncIterableIterator<Availability>;
  info(device: string, options?: CallOptions): AsyncIterableIterator<Info>;
  health(device: string, options?: CallOptions): AsyncIterableIterator<Health>;
  /** `scenes` for a listener. Returns a function that stops it. */
  onScene(device: string, listener: (scene: Scene) => void, options?: WatchOptions & ListenOptions): () => void;
  /** `events` for a listener. Returns a function that stops it. */
  onEvent(device: string, listener: (event: WatchEvent) => void, options?: EventOptions & ListenOptions): () => void;
  onStateChange(listener: (state: BusState) => void): () => void;
  /** Requests that wait end with ERR_DISPOSED. */
  close(): Promise<void>;
}
