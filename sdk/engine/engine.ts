/**
 * The border between what is clever about decoding (TypeScript above) and what multiplies (backends below).
 * A backend knows tensors and token ids, not text. One contract suite (test/contract/engine.ts) runs on all of them.
 *
 * Words: a token is a place in a sequence; a logits row is the logits of one token; vision tokens are what the vision
 * tower makes of a picture; rows without another word are those of a matrix.
 */
import type { CallOptions } from '../core/types.js';
import type { ProcessedImage } from '../image/processed-image.js';

/** Who multiplies: ONNX Runtime, own kernels on the processor, TensorRT. */
export type BackendName = 'onnx' | 'cpu' | 'tensorrt';

/**
 * Where public implementations of the architecture differ. `meta` is how the weights were trained; the others
 * reproduce releases of Hugging Face transformers, for verification and for fine-tunes made with them.
 */
export type Numerics = 'meta' | 'hf-4.45' | 'hf-5';

/** What an open engine is. Plain data. */
export interface EngineInfo {
  readonly backend: BackendName;
  /** What the backend runs on, in words: `AMD EPYC, 2 threads, AVX512-VNNI`. */
  readonly device: string;
  readonly numerics: Numerics;
  readonly weights: 'float' | 'int4';
  /** What the vision tower multiplies with: `float` in 16 or 32 bits, as the backend has it. */
  readonly vision: 'float' | 'int8';
  /** Tokens that fit into one sequence. */
  readonly contextLength: number;
  /** Logits of one token. */
  readonly vocabularySize: number;
  readonly capabilities: EngineCapabilities;
}

/** What callers may build on. Backends say it; nobody infers it from their names. Plain data. */
export interface EngineCapabilities {
  /** Slices of one step that are computed together; 1: one after another, so that a step of several saves nothing. */
  readonly batchedSlices: number;
  /** Tokens computed between two looks at an abort. Slices up to this are the unit in which callers can take turns. */
  readonly sliceTokens: number;
  /**
   * How near to each other two logits may be before a token that was computed among others is computed again by
   * itself, as plain decoding does. 0: both ways give equal bits. null: they differ too much for drafts.
   */
  readonly closeCallMargin: number | null;
  /** A prompt may go on from tokens that an earlier call left in a sequence, and gives the same answer. */
  readonly prefixReuse: boolean;
  /** Slices may ask for attention weights (`SliceOptions.attention`). */
  readonly attentionTaps: boolean;
  /** Tokens of alternatives that one slice may hold (`SliceOptions.branches`); 0: none, they are computed one by one. */
  readonly branchTokens: number;
  /** Self-attention K/V of one token. */
  readonly keyValueBytesPerToken: number;
  /** A sequence takes the memory of a whole context when it begins; false: as it grows. */
  readonly reservesContext: boolean;
}

/** One attention head of the decoder: a layer among all layers, a query head of it. */
export interface HeadId {
  readonly layer: number;
  readonly head: number;
}

/**
 * What attention over the images is wanted of a slice. Weights come back rather than queries, because the keys they are
 * made with (210 MB of an 11B model's picture) never leave a backend; weights of one head and token are 26 kB at most.
 */
export interface AttentionRequest {
  /** Of cross-attention layers; at least one, each once. */
  readonly heads: readonly HeadId[];
  /** Indices in the slice's tokens, rising; at least one. */
  readonly tokens: readonly number[];
}

/** Attention of the heads and tokens of a request over the vision tokens of used tiles. */
export interface AttentionWeights {
  /** `[heads, tokens, visionTokens]`. Over the images that a token sees they add up to 1; over others they are 0. */
  readonly weights: Float32Array;
  /**
   * Of all images of the slice in their order: the used tiles of each, each with its class token and then its patches row
   * by row.
   */
  readonly visionTokens: number;
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

/** How tokens are computed, and what is wanted of them. */
export interface SliceOptions extends CallOptions {
  /**
   * All images of the whole sequence so far, in order of `tokenIndex`, on every call. An empty list skips the cross
   * layers. A token sees the images that stand side by side before it, nearest first; generated tokens see what the
   * last token of the prompt sees.
   */
  readonly images: readonly PlacedImage[];
  /** Of which tokens: none (a piece of a prompt that goes on), the last, all. Others are not computed (TensorRT: one is). */
  readonly logits: 'none' | 'last' | 'all';
  /**
   * Attention over the images that is wanted too; only with images, and where `capabilities.attentionTaps` says so. It
   * changes nothing of the logits, and costs nothing when it is left out.
   */
  readonly attention?: AttentionRequest | undefined;
  /**
   * Lengths of the alternatives that the tokens are, one after the other: each goes on from the end of the sequence, none
   * sees another, and nothing of them stays in it. Each takes whole `BRANCH_BLOCK_TOKENS` of the context while the call
   * lasts, and so does the sequence. Only where `capabilities.branchTokens` says so, with logits of `all`, without
   * attention, and with images within the sequence.
   */
  readonly branches?: readonly number[] | undefined;
}

/** Room for an alternative is counted in blocks of so many tokens. */
export const BRANCH_BLOCK_TOKENS = 16;

/** Tokens of a context that a sequence of `length` tokens takes with alternatives of these lengths behind it. */
export function branchedLength(length: number, branches: readonly number[]): number {
  const blocks = [length, ...branches].map((tokens) => Math.ceil(tokens / BRANCH_BLOCK_TOKENS));
  return blocks.reduce((sum, count) => sum + count, 0) * BRANCH_BLOCK_TOKENS;
}

/** Tokens that one step appends to one sequence. */
export interface Slice extends SliceOptions {
  /** Of this engine; each in one slice of a step at most. */
  readonly sequence: Sequence;
  readonly tokens: Int32Array;
}

/** What came of one slice. */
export interface SliceResult {
  /** `[logitsRows, vocabularySize]`, row-major. */
  readonly logits: Float32Array;
  /** Tokens with logits: 0 for 'none', 1 for 'last', one for each token for 'all'. */
  readonly logitsRows: number;
  /** Where it was asked for. */
  readonly attention?: AttentionWeights | undefined;
}

/** One result for each slice, in their order: a slice that fails or is aborted leaves the others alone. */
export type StepResult = readonly PromiseSettledResult<SliceResult>[];

/** One conversation's self-attention K/V cache. Calls run one after another; a sequence is not reentrant. */
export interface Sequence extends Disposable {
  /** Tokens in the cache. */
  readonly length: number;
  /** A step of this one slice. Rejects with what a step gives as the reason. */
  forward(tokens: Int32Array, options: SliceOptions): Promise<SliceResult>;
  /** Forgets every token from `length` on: rejected drafts, a shared prefix. O(1). */
  truncate(length: number): void;
}

/** One loaded model on one backend. Knows tensors and token ids, not text; disposing waits for the call that runs. */
export interface Engine extends AsyncDisposable {
  readonly info: EngineInfo;
  encodeImage(image: ProcessedImage, options?: CallOptions): Promise<ImageState>;
  createSequence(): Sequence;
  /**
   * Appends the tokens of every slice to its sequence. Never rejects; reasons of a slice, whose sequence is then as long
   * as before: SdkError ERR_CONTEXT_OVERFLOW when length + tokens exceeds `contextLength`, ERR_ARGUMENT_INVALID,
   * ERR_BUSY when the sequence computes already, ERR_DISPOSED, ERR_ENGINE_*; `signal.reason` of a slice that was
   * aborted, within `sliceTokens`.
   */
  step(slices: readonly Slice[]): Promise<StepResult>;
}
