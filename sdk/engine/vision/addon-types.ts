/** What native/addon/engine/visionBindings.cpp exports. */
import type { TensorLocation, VisionArchitecture } from '../../architecture/architecture.js';
import type { VisionTokens } from '../../architecture/vision-tokens.js';

declare const kind: unique symbol;
/** Opaque; holds its tower until released or collected. Calls that run keep it alive. */
export interface CpuVisionHandle {
  readonly [kind]: 'vision';
}

export interface CpuVisionSpec {
  readonly vision: VisionArchitecture;
  /** Arrangements of tiles; ids go from 0 to this. */
  readonly aspectRatios: number;
  /** For each part of the features: how many local layers its state has passed. */
  readonly tapLayers: readonly number[];
  readonly textHiddenSize: number;
  readonly tensors: readonly (TensorLocation & { readonly name: string })[];
  /** 0: one for each physical core. */
  readonly threads: number;
  /** Empty: the fastest. */
  readonly instructionSet: string;
  /** Where packed weights are kept (empty: in memory), and the key that the file must carry. */
  readonly packedWeightsPath: string;
  readonly packedKey: string;
}

export interface OpenedCpuVision {
  readonly handle: CpuVisionHandle;
  readonly instructionSet: string;
  readonly threads: number;
  readonly packed: 'found' | 'created' | 'replaced' | 'memory';
  readonly packedSizeBytes: number;
}

export type CpuVisionPlan = { readonly aspectRatioId: number } & Omit<VisionTokens, 'fullSequence'>;

/** Promises reject with an Error whose `code` is one of the SDK's or `ABORTED`. `abort` is one int32: set it to 1. */
export interface CpuVisionAddon {
  openCpuVision(
    spec: CpuVisionSpec,
    abort: Int32Array,
    onProgress: (doneBytes: number, totalBytes: number) => void,
  ): Promise<OpenedCpuVision>;
  /**
   * @param pixels `[slots, 3, tileSize, tileSize]`; must not change until the promise settles
   * @param states `[stateTokens, textHiddenSize]`, written before the promise settles
   */
  encodeCpuVision(
    vision: CpuVisionHandle,
    pixels: Float32Array,
    plan: CpuVisionPlan,
    states: Float32Array,
    abort: Int32Array,
  ): Promise<void>;
  /** Idempotent. */
  releaseCpuVision(vision: CpuVisionHandle): void;
}

declare module '../../native/addon-types.js' {
  interface EngineAddon extends CpuVisionAddon {}
}
