/** Sizes of published models. The weights of a benchmark are random; time does not depend on their values. */
import type { MllamaArchitecture, TextArchitecture } from '#sdk/architecture/architecture.js';

const llama3: Pick<
  TextArchitecture,
  'crossAttentionLayers' | 'rmsNormEps' | 'ropeTheta' | 'ropeScaling' | 'maxPositionEmbeddings'
> = {
  crossAttentionLayers: [],
  rmsNormEps: 1e-5,
  ropeTheta: 500_000,
  ropeScaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 8192 },
  maxPositionEmbeddings: 131_072,
};

const ASPECT_RATIOS = [
  [1, 1],
  [1, 2],
  [1, 3],
  [1, 4],
  [2, 1],
  [2, 2],
  [3, 1],
  [4, 1],
] as const;

/** Text decoders alone: what the cross layers add is the same kind of work. */
export const TEXT_SHAPES = {
  '1b': {
    ...llama3,
    hiddenSize: 2048,
    layers: 16,
    attentionHeads: 32,
    keyValueHeads: 8,
    headDim: 64,
    intermediateSize: 8192,
    vocabularySize: 128_256,
    embeddingRows: 128_264,
  },
  '8b': {
    ...llama3,
    hiddenSize: 4096,
    layers: 32,
    attentionHeads: 32,
    keyValueHeads: 8,
    headDim: 128,
    intermediateSize: 14_336,
    vocabularySize: 128_256,
    embeddingRows: 128_264,
  },
} as const satisfies Record<string, TextArchitecture>;

export type ShapeName = keyof typeof TEXT_SHAPES;

/** The vision part is never opened; its sizes only make the type whole. */
export function architectureOf(shape: ShapeName): MllamaArchitecture {
  return {
    text: TEXT_SHAPES[shape],
    vision: {
      tileSize: 56,
      patchSize: 14,
      maxNumTiles: 4,
      hiddenSize: 64,
      attentionHeads: 4,
      intermediateSize: 128,
      localLayers: 1,
      globalLayers: 1,
      intermediateLayersIndices: [],
      normEps: 1e-5,
      outputDim: 64,
      supportedAspectRatios: [[1, 1]],
    },
    imageTokenId: 128_256,
  };
}

/** The 11B model's vision tower with fewer layers, and next to no text. */
export function visionArchitecture(localLayers: number): MllamaArchitecture {
  const text = {
    ...llama3,
    hiddenSize: 256,
    layers: 1,
    attentionHeads: 4,
    keyValueHeads: 2,
    headDim: 64,
    intermediateSize: 256,
    vocabularySize: 256,
    embeddingRows: 264,
  };
  const vision = {
    tileSize: 560,
    patchSize: 14,
    maxNumTiles: 4,
    hiddenSize: 1280,
    attentionHeads: 16,
    intermediateSize: 5120,
    localLayers,
    globalLayers: 0,
    intermediateLayersIndices: [],
    normEps: 1e-5,
    outputDim: 1280,
    supportedAspectRatios: ASPECT_RATIOS,
  } as const;
  return { text, vision, imageTokenId: 256 };
}

/** `config.json` of the 11B model, as published. */
export function wholeConfig(quantization: unknown) {
  return {
    architectures: ['MllamaForConditionalGeneration'],
    model_type: 'mllama',
    image_token_index: 128_256,
    quantization_config: quantization,
    text_config: {
      model_type: 'mllama_text_model',
      hidden_size: 4096,
      num_hidden_layers: 40,
      cross_attention_layers: [3, 8, 13, 18, 23, 28, 33, 38],
      num_attention_heads: 32,
      num_key_value_heads: 8,
      intermediate_size: 14_336,
      vocab_size: 128_256,
      rms_norm_eps: 1e-5,
      rope_theta: 500_000,
      rope_scaling: {
        rope_type: 'llama3',
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 8192,
      },
      max_position_embeddings: 131_072,
      tie_word_embeddings: false,
      hidden_act: 'silu',
      bos_token_id: 128_000,
      pad_token_id: 128_004,
      eos_token_id: [128_001, 128_008, 128_009],
    },
    vision_config: {
      model_type: 'mllama_vision_model',
      hidden_size: 1280,
      attention_heads: 16,
      intermediate_size: 5120,
      num_hidden_layers: 32,
      num_global_layers: 8,
      intermediate_layers_indices: [3, 7, 15, 23, 30],
      image_size: 560,
      patch_size: 14,
      max_num_tiles: 4,
      num_channels: 3,
      norm_eps: 1e-5,
      vision_output_dim: 7680,
      hidden_act: 'gelu',
      supported_aspect_ratios: ASPECT_RATIOS,
    },
  };
}

/** `preprocessor_config.json` of the 11B model. */
export const WHOLE_PROCESSOR = {
  max_image_tiles: 4,
  size: { height: 560, width: 560 },
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
  resample: 2,
};
