/** What crosses between the engine and its worker thread. Everything is structured-cloneable. */
import type { MllamaArchitecture, TensorLocation } from '../../architecture/architecture.js';
import type { Progress } from '../../core/logger.js';
import type { AttentionRequest, Numerics, SliceResult } from '../engine.js';

/** Tokens that the worker computes at a time; a cancelled call ends after the step that runs. */
export const STEP_TOKENS = 256;

/** Serialised ONNX models. Some may be empty, when they are never run. */
export interface Graphs {
  /** The tower's layers in one graph, or in several that are run one behind the other. */
  readonly vision: readonly Uint8Array[];
  readonly 'cross-kv': Uint8Array;
  readonly decoder: Uint8Array;
  readonly 'decoder-text': Uint8Array;
}

export interface OpenRequest {
  readonly graphs: Graphs;
  /**
   * `vision`: another backend decodes; only `encodeStates` is answered. `text`: only `forward` without images, for
   * benchmarks. Default: all.
   */
  readonly parts?: 'vision' | 'text' | undefined;
  /** Folder that the graphs' external data lies under. */
  readonly weightsRoot: string;
  readonly architecture: MllamaArchitecture;
  readonly embedding: TensorLocation;
  readonly numerics: Numerics;
  /** By aspect ratio id: from how many used tiles on unused slots are copies of each other. Empty: not known, never. */
  readonly mergeableFrom: readonly number[];
  readonly contextLength: number;
  readonly threads: number;
  /**
   * Text without images: a session of its own, which skips the cross layers; or the one decoder with their results
   * dropped, which computes more and does not hold the weights twice.
   */
  readonly separateTextDecoder: boolean;
  /** Send intermediate tensors, of instrumented graphs. */
  readonly trace: boolean;
  /** Optimised graphs with weights as the kernels take them. Default: graphs are optimised at every start. */
  readonly sessions?: KeptSessions | undefined;
}

export interface KeptSessions {
  readonly directory: string;
  /** `write`: makes the files in the empty directory; `read`: opens them instead of `graphs`. */
  readonly use: 'write' | 'read';
}

export interface EncodeImageRequest {
  readonly image: number;
  readonly pixelValues: Float32Array;
  readonly aspectRatioId: number;
  readonly numTiles: number;
  /** One shared int32; not 0: stop before the next graph, of which the tower of a large model has several. */
  readonly cancel: Int32Array;
}

export interface EncodeStatesRequest extends Omit<EncodeImageRequest, 'image' | 'cancel'> {
  readonly cancel?: Int32Array | undefined;
}

export interface ForwardRequest {
  readonly sequence: number;
  /** Tokens of the cache that count; the new ones are appended there. */
  readonly position: number;
  readonly tokens: Int32Array;
  readonly images: readonly { readonly image: number; readonly tokenIndex: number }[];
  readonly logits: 'none' | 'last' | 'all';
  readonly attention?: AttentionRequest | undefined;
  /** One shared int32; not 0: stop before the next step. */
  readonly cancel: Int32Array;
}

/** Requests by name: what is sent, what comes back. */
export interface OnnxRequests {
  open: { request: OpenRequest; response: null };
  encodeImage: { request: EncodeImageRequest; response: { readonly sizeBytes: number } };
  /** What cross-attention looks at, `[keysPerImage, textHidden]`, before its K/V projections. */
  encodeStates: { request: EncodeStatesRequest; response: { readonly states: Float32Array } };
  disposeImage: { request: { readonly image: number }; response: null };
  forward: { request: ForwardRequest; response: SliceResult };
  disposeSequence: { request: { readonly sequence: number }; response: null };
  close: { request: null; response: null };
}

/** Sent by the worker between responses. */
export type OnnxNotice =
  | { readonly kind: 'progress'; readonly progress: Progress }
  | { readonly kind: 'tensor'; readonly name: string; readonly data: Float32Array; readonly shape: readonly number[] };
