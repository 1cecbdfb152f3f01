/** What native/addon/engine/cpuBindings.cpp exports. */
import type { TensorLocation, TextArchitecture } from '../../architecture/architecture.js';

declare const kind: unique symbol;
/** Opaque; holds its object until released or collected. Calls that run keep the object alive. */
export interface CpuDecoderHandle {
  readonly [kind]: 'decoder';
}
export interface CpuSequenceHandle {
  readonly [kind]: 'sequence';
}
export interface CpuImageHandle {
  readonly [kind]: 'image';
}

export interface CpuFeatures {
  /** Sets that this machine runs and the addon has kernels for, slowest first: `scalar`, `avx2`, `avx512-vnni`, … */
  readonly instructionSets: readonly string[];
  readonly processor: string;
  readonly physicalCores: number;
}

/** Numbers in the K/V caches; `int8` with a scale for each head and position. */
export type CpuKeyValueType = 'f32' | 'f16' | 'int8';

export interface CpuDecoderSpec {
  readonly text: TextArchitecture;
  readonly tensors: readonly (TensorLocation & { readonly name: string })[];
  /** Tokens that see no image add what they attend to, as in the Hugging Face numerics. */
  readonly maskedTokensAttend: boolean;
  readonly contextLength: number;
  /** 0: one for each physical core. */
  readonly threads: number;
  /** Empty: the fastest. */
  readonly instructionSet: string;
  readonly keyValueType: CpuKeyValueType;
  /** Where packed weights are kept (empty: in memory), and the key that the file must carry. Only for int4 models. */
  readonly packedWeightsPath: string;
  readonly packedKey: string;
}

export interface OpenedCpuDecoder {
  readonly handle: CpuDecoderHandle;
  readonly instructionSet: string;
  readonly threads: number;
  /** Whether the file of packed weights was found, was made, or was rebuilt because it did not fit. */
  readonly packed: 'none' | 'found' | 'created' | 'replaced' | 'memory';
  /** Weights that one decoded token reads when it attends to an image. */
  readonly linearSizeBytes: number;
}

/** Attention that is wanted of a call. */
export interface CpuAttentionTaps {
  /** `[heads]` each: a cross layer among all layers, and a query head of it. */
  readonly layers: Int32Array;
  readonly heads: Int32Array;
  /** Indices in the call's tokens, rising. */
  readonly tokens: Int32Array;
  /** `[heads, tokens, visionTokens]`, written before the promise settles. */
  readonly weights: Float32Array;
}

/** Promises reject with an Error whose `code` is one of the SDK's or `ABORTED`. `abort` is one int32: set it to 1. */
export interface CpuAddon {
  cpuFeatures(): CpuFeatures;
  openCpuDecoder(
    spec: CpuDecoderSpec,
    abort: Int32Array,
    onProgress: (doneBytes: number, totalBytes: number) => void,
  ): Promise<OpenedCpuDecoder>;
  createCpuSequence(decoder: CpuDecoderHandle): CpuSequenceHandle;
  /** @param features `[positions, hiddenSize]`, used tiles first; must not change until the promise settles. */
  encodeCpuImage(
    decoder: CpuDecoderHandle,
    features: Float32Array,
    visiblePositions: number,
    abort: Int32Array,
  ): Promise<{ readonly handle: CpuImageHandle; readonly sizeBytes: number }>;
  /**
   * @param logits `[tokens with logits, vocabularySize]`, written before the promise settles
   * @param taps left out: nobody looks at the attention
   */
  forwardCpu(
    decoder: CpuDecoderHandle,
    sequence: CpuSequenceHandle,
    tokens: Int32Array,
    images: readonly CpuImageHandle[],
    tokenIndices: Int32Array,
    logitsOf: 'none' | 'last' | 'all',
    logits: Float32Array,
    abort: Int32Array,
    taps?: CpuAttentionTaps,
  ): Promise<void>;
  /**
   * Alternatives behind the sequence, which stays as it is.
   * @param lengths of the alternatives in `tokens`
   * @param logits `[tokens, vocabularySize]`, written before the promise settles
   */
  branchCpu(
    decoder: CpuDecoderHandle,
    sequence: CpuSequenceHandle,
    tokens: Int32Array,
    lengths: Int32Array,
    images: readonly CpuImageHandle[],
    tokenIndices: Int32Array,
    logits: Float32Array,
    abort: Int32Array,
  ): Promise<void>;
  truncateCpuSequence(sequence: CpuSequenceHandle, length: number): void;
  /** Idempotent. */
  releaseCpuHandle(handle: CpuDecoderHandle | CpuSequenceHandle | CpuImageHandle): void;
}

declare module '../../native/addon-types.js' {
  interface EngineAddon extends CpuAddon {}
}
