/** The caller's side of the bus, as programs see it. */
import type { CallOptions } from '../../core/types.js';
import type {
  AskRequest,
  Availability,
  CameraStatusPayload,
  Health,
  Info,
  OkResponse,
  Scene,
} from '../contract/schemas/index.js';
import type { BusState, ConnectionOptions, ProtocolVersion } from '../transport/types.js';

export interface ClientOptions extends ConnectionOptions {
  /** Topic root of the devices, default `scenebus`. */
  readonly root?: string | undefined;
}

export type Question = Omit<AskRequest, 'schema' | 'transaction' | 'responseTopic' | 'timeoutMs'>;

export interface AskOptions extends CallOptions {
  /** Default 120 000. The device gets it as its deadline. */
  readonly timeoutMs?: number | undefined;
}

/** The answer with its provenance: what was said, on which frame, by which model. */
export type AskReply = OkResponse['data'] &
  Pick<OkResponse, 'device' | 'camera' | 'frameId' | 'frameTs' | 'model' | 'generatedByModel'>;

export interface WatchOptions extends CallOptions {
  /** Only this camera. */
  readonly camera?: string | undefined;
}

export interface BusClient extends AsyncDisposable {
  readonly state: BusState;
  readonly protocolVersion: ProtocolVersion | undefined;
  /** Broker address without credentials. */
  readonly broker: string;
  /**
   * Asks a device about its newest frame.
   * @throws SdkError ERR_BUS_UNREACHABLE (the device is not there), ERR_BUS_TIMEOUT, ERR_BUSY and the other codes with
   *   which a device answers; `signal.reason` when aborted.
   */
  ask(device: string, question: string | Question, options?: AskOptions): Promise<AskReply>;
  /**
   * Scenes of a device, or of all with `'*'`: the retained one first, then each new one. A slow reader skips to the
   * newest of each camera. Ends when the client closes.
   */
  scenes(device: string, options?: WatchOptions): AsyncIterableIterator<Scene>;
  cameraStatuses(device: string, options?: WatchOptions): AsyncIterableIterator<CameraStatusPayload>;
  availability(device: string, options?: CallOptions): AsyncIterableIterator<Availability>;
  info(device: string, options?: CallOptions): AsyncIterableIterator<Info>;
  health(device: string, options?: CallOptions): AsyncIterableIterator<Health>;
  onStateChange(listener: (state: BusState) => void): () => void;
  /** Questions that wait end with ERR_DISPOSED. */
  close(): Promise<void>;
}
