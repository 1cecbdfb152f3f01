/**
 * The border between what is clever about decoding (TypeScript above) and what multiplies (backends below).
 * A backend knows tensors and token ids, not text. One contract suite (test/contract/engine.ts) runs on all of them.
 */
import type { CallOptions } from '../core/types.js';
import type { ProcessedImage } from '../image/processed-image.js';

export type BackendName = 'onnx' | 'cpu' | 'tensorrt';

/**
 * Where public implementations of the architecture differ. `meta` is how the weights were trained; the others
 * reproduce releases of Hugging Face transformers, for verification and for fine-tunes made with them.
 */
export type Numerics = 'meta' | 'hf-4.45' | 'hf-5';

export interface EngineInfo {
  readonly backend: BackendName;
  /** What the backend runs on, in words: `AMD EPYC, 2 threads, AVX512-VNNI`. */
  readonly device: string;
  readonly numerics: Numerics;
  readonly weights: 'float' | 'int4';
  /** Tokens that fit into one sequence. */
  readonly contextLength: number;
  /** Columns of a logits row. */
  readonly vocabularySize: number;
}

/**
 * Vision features as the decoder wants them: cross-attention K/V of every cross layer, held by the backend.
 * Made once per frame, shared by any number of sequences. Disposing while a sequence uses it is safe: the backend
 * frees it after the running call.
 */
export interface ImageState extends Disposable {
  readonly id: number;
  readonly numTiles: number;
  readonly sizeBytes: number;
}

/** An image and the index of its `<|image|>` token in the whole sequence (not in the call's `tokens`). */
export interface PlacedImage {
  readonly image: ImageState;
  readonly tokenIndex: number;
}

export interface ForwardOptions extends CallOptions {
  /**
   * All images of the whole sequence so far, in order of `tokenIndex`, on every call. An empty list skips the cross
   * layers (spec §6). Which rows see which image follows spec §3.2, generated tokens like the last row.
   */
  readonly images: readonly PlacedImage[];
  readonly logits: 'last' | 'all';
}

export interface ForwardResult {
  /** Row-major `[rows, vocabularySize]`; one row for 'last', one per token for 'all'. */
  readonly logits: Float32Array;
  readonly rows: number;
}

/** One conversation's self-attention K/V cache. Calls run one after another; a sequence is not reentrant. */
export interface Sequence extends Disposable {
  /** Tokens in the cache. */
  readonly length: number;
  /**
   * Appends tokens and returns logits.
   * @throws SdkError ERR_CONTEXT_OVERFLOW when length + tokens exceeds `contextLength`: nothing is appended.
   * @throws signal.reason when aborted, within one step; the length is then what it was before the call.
   */
  forward(tokens: Int32Array, options: ForwardOptions): Promise<ForwardResult>;
  /** Forgets every token from `length` on: rejected drafts, a shared prefix. O(1). */
  truncate(length: number): void;
}

/** One loaded model on one backend. Knows tensors and token ids, not text; disposing waits for the call that runs. */
export interface Engine extends AsyncDisposable {
  readonly info: EngineInfo;
  encodeImage(image: ProcessedImage, options?: CallOptions): Promise<ImageState>;
  createSequence(): Sequence;
}
