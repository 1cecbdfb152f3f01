/**
 * The model as the graph writer needs to know it: sizes from `config.json`, and where each tensor lies on disk.
 * A leaf: it knows nothing of files, engines or graphs.
 */

export interface VisionArchitecture {
  /** Side of a tile in pixels (`image_size`). */
  readonly tileSize: number;
  readonly patchSize: number;
  readonly maxNumTiles: number;
  readonly hiddenSize: number;
  readonly attentionHeads: number;
  readonly intermediateSize: number;
  readonly localLayers: number;
  readonly globalLayers: number;
  /** Local layers whose input (numerics `hf-5`: output) becomes part of the features. */
  readonly intermediateLayersIndices: readonly number[];
  readonly normEps: number;
  /** hiddenSize × (1 + taps). */
  readonly outputDim: number;
  /** Pairs [tiles high, tiles wide]; id = index + 1. */
  readonly supportedAspectRatios: readonly (readonly [number, number])[];
}

export interface RopeScaling {
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositionEmbeddings: number;
}

export interface TextArchitecture {
  readonly hiddenSize: number;
  readonly layers: number;
  /** Indices of the cross-attention layers among all `layers`. */
  readonly crossAttentionLayers: readonly number[];
  readonly attentionHeads: number;
  readonly keyValueHeads: number;
  /** hiddenSize / attentionHeads. */
  readonly headDim: number;
  readonly intermediateSize: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  /** null: no scaling. */
  readonly ropeScaling: RopeScaling | null;
  /** Rows of lm_head. */
  readonly vocabularySize: number;
  /** Rows of the embedding table: vocabularySize + 8. */
  readonly embeddingRows: number;
  readonly maxPositionEmbeddings: number;
}

export interface MllamaArchitecture {
  readonly vision: VisionArchitecture;
  readonly text: TextArchitecture;
  readonly imageTokenId: number;
}

export type TensorDtype = 'F32' | 'F16' | 'BF16' | 'I8' | 'I32' | 'I64' | 'U8';

/** Where a tensor's bytes lie: row-major, little-endian. */
export interface TensorLocation {
  /** Absolute path of the safetensors file. */
  readonly file: string;
  /** Absolute byte offset in the file; may be unaligned. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
}

/** int4 weights in the compressed-tensors `pack-quantized` convention. Single linears (lm_head) may have 8 bits. */
export interface Int4Scheme {
  readonly bits: 4;
  /** Inputs that share a scale in the 4-bit linears: 32, 64 or 128; 0: one scale for each output (by channel). */
  readonly groupSize: number;
}

/**
 * `tensors` is keyed by the published names (`language_model.model.layers.0…`), whichever
 * generation of names the file uses. A quantised linear `X.weight` appears as `X.weight_packed` (I32 [N, K·bits/32],
 * value + 2^(bits − 1), lowest bits first), `X.weight_scale` ([N, K/group], by channel [N, 1]) and `X.weight_shape`;
 * K is the architecture's, bits and group follow from the shapes (`packedForm`).
 */
export interface ModelDescription {
  readonly architecture: MllamaArchitecture;
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  readonly int4: Int4Scheme | null;
}
