/**
 * `config.json` of an Mllama folder. Both layouts in the wild are read: that of transformers 4.45 (`rope_theta` and
 * `rope_scaling`, `image_token_index`) and that of 5.x (`rope_parameters`, `image_token_id`). Fields that a writer left
 * out because they equal the class's default get that default (transformers' `MllamaVisionConfig`, `MllamaTextConfig`).
 */

import { z } from 'zod';
import type { MllamaArchitecture, RopeScaling } from '../architecture/architecture.js';
import { SdkError } from '../core/errors.js';

const count = z.int().min(1).max(1_000_000);
const layerCount = z.int().min(1).max(1000);
const index = z.int().min(0).max(1_000_000);
const epsilon = z.number().positive().max(1);
/** One side, or both as [height, width], of which some writers make a list. */
const side = z.union([count.transform((size) => [size, size] as const), z.tuple([count, count])]);
const tokenIds = z.union([index.transform((id) => [id]), z.array(index)]);

/** Pairs [rows, columns] with at most `maxTiles` tiles, rows first (spec: id = index + 1). */
export function supportedAspectRatios(maxTiles: number): [number, number][] {
  const pairs: [number, number][] = [];
  for (let rows = 1; rows <= maxTiles; rows += 1) {
    for (let columns = 1; rows * columns <= maxTiles; columns += 1) pairs.push([rows, columns]);
  }
  return pairs;
}

const ropeSchema = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: count.optional(),
});

const visionSchema = z.looseObject({
  hidden_size: count.default(1280),
  hidden_act: z.string().default('gelu'),
  num_hidden_layers: layerCount.default(32),
  num_global_layers: layerCount.default(8),
  attention_heads: count.optional(),
  num_attention_heads: count.optional(),
  num_channels: count.default(3),
  intermediate_size: count.default(5120),
  vision_output_dim: count.default(7680),
  image_size: side.prefault(448),
  patch_size: side.prefault(14),
  norm_eps: epsilon.default(1e-5),
  max_num_tiles: z.int().min(1).max(64).default(4),
  intermediate_layers_indices: z.array(index).default([3, 7, 15, 23, 30]),
  supported_aspect_ratios: z
    .array(z.tuple([count, count]))
    .min(1)
    .max(1024)
    .nullish(),
});

const textSchema = z.looseObject({
  vocab_size: count.default(128_256),
  hidden_size: count.default(4096),
  hidden_act: z.string().default('silu'),
  num_hidden_layers: layerCount.default(40),
  num_attention_heads: count.default(32),
  num_key_value_heads: count.default(8),
  head_dim: count.nullish(),
  intermediate_size: count.default(14_336),
  rms_norm_eps: epsilon.default(1e-5),
  rope_theta: z.number().positive().optional(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
  max_position_embeddings: z.int().min(1).default(131_072),
  cross_attention_layers: z.array(index).default([3, 8, 13, 18, 23, 28, 33, 38]),
  bos_token_id: index.nullish(),
  eos_token_id: tokenIds.nullish(),
  pad_token_id: z.int().nullish(),
  tie_word_embeddings: z.boolean().nullish(),
});

/** Of `MllamaTextConfig`: what a config that leaves them out means. Null in a config means that there is none. */
export const DEFAULT_TOKEN_IDS = { bos: 128_000, eos: [128_001], pad: 128_004 } as const;

export const configSchema = z.looseObject({
  model_type: z.string(),
  _name_or_path: z.string().optional(),
  image_token_index: index.optional(),
  image_token_id: index.optional(),
  bos_token_id: index.nullish(),
  eos_token_id: tokenIds.nullish(),
  pad_token_id: z.int().nullish(),
  tie_word_embeddings: z.boolean().nullish(),
  vision_config: visionSchema.prefault({}),
  text_config: textSchema.prefault({}),
  quantization_config: z.looseObject({}).nullish(),
});

export type MllamaConfig = z.output<typeof configSchema>;

/**
 * Sizes from the config, and everything in it that contradicts itself or that this product cannot run.
 * @throws SdkError ERR_MODEL_UNSUPPORTED when it is another architecture.
 */
export function architectureOf(config: MllamaConfig): { architecture: MllamaArchitecture; problems: string[] } {
  if (config.model_type !== 'mllama') {
    throw new SdkError(
      'ERR_MODEL_UNSUPPORTED',
      `Expected model_type "mllama" (the Llama-3.2-Vision architecture) in config.json, but it says "${config.model_type}".`,
      { details: { expected: 'mllama', received: config.model_type } },
    );
  }
  const { vision_config: vision, text_config: text } = config;
  const problems: string[] = [];
  const need = (holds: boolean, problem: string): void => {
    if (!holds) problems.push(`config.json: ${problem}`);
  };
  const visionHeads = vision.attention_heads ?? vision.num_attention_heads ?? 16;
  const taps = vision.intermediate_layers_indices;
  const crossLayers = text.cross_attention_layers;
  const [tileSize, tileWidth] = vision.image_size;
  const [patchSize, patchWidth] = vision.patch_size;

  need(vision.hidden_act === 'gelu', `vision hidden_act "${vision.hidden_act}" is not supported, only "gelu"`);
  need(text.hidden_act === 'silu', `text hidden_act "${text.hidden_act}" is not supported, only "silu"`);
  need(vision.num_channels === 3, `num_channels is ${vision.num_channels}, only 3 is supported`);
  need(tileSize === tileWidth, `image_size ${tileSize}×${tileWidth} is not supported, only square tiles`);
  need(patchSize === patchWidth, `patch_size ${patchSize}×${patchWidth} is not supported, only square patches`);
  need(tileSize % patchSize === 0, `image_size ${tileSize} is not a multiple of patch_size ${patchSize}`);
  need(
    vision.hidden_size % visionHeads === 0,
    `vision hidden_size ${vision.hidden_size} does not divide into ${visionHeads} heads`,
  );
  need(
    taps.every((tap) => tap < vision.num_hidden_layers),
    `intermediate_layers_indices [${taps}] go beyond the ${vision.num_hidden_layers} local layers`,
  );
  need(isAscending(taps), `intermediate_layers_indices [${taps}] are not ascending`);
  need(
    vision.vision_output_dim === vision.hidden_size * (1 + taps.length),
    `vision_output_dim is ${vision.vision_output_dim}, but hidden_size × (1 + taps) is ${vision.hidden_size * (1 + taps.length)}`,
  );
  need(
    text.hidden_size % text.num_attention_heads === 0,
    `text hidden_size ${text.hidden_size} does not divide into ${text.num_attention_heads} heads`,
  );
  need(
    text.num_attention_heads % text.num_key_value_heads === 0,
    `${text.num_attention_heads} attention heads do not divide into ${text.num_key_value_heads} key/value heads`,
  );
  const headDim = Math.floor(text.hidden_size / text.num_attention_heads);
  need(
    text.head_dim == null || text.head_dim === headDim,
    `head_dim ${text.head_dim} differs from hidden_size / num_attention_heads = ${headDim}, which is not supported`,
  );
  need(headDim % 2 === 0, `head size ${headDim} is odd; rotary embedding needs pairs`);
  need(
    crossLayers.every((layer) => layer < text.num_hidden_layers) && isAscending(crossLayers),
    `cross_attention_layers [${crossLayers}] are not ascending indices below num_hidden_layers ${text.num_hidden_layers}`,
  );

  const derived = supportedAspectRatios(vision.max_num_tiles);
  const ratios = vision.supported_aspect_ratios ?? derived;
  need(
    JSON.stringify(ratios) === JSON.stringify(derived),
    `supported_aspect_ratios ${JSON.stringify(ratios)} are not those of max_num_tiles ${vision.max_num_tiles}, ${JSON.stringify(derived)}`,
  );

  const imageTokenId = config.image_token_index ?? config.image_token_id ?? text.vocab_size;
  need(
    imageTokenId < text.vocab_size + 8,
    `image token ${imageTokenId} lies outside the ${text.vocab_size + 8} embedding rows`,
  );
  const { theta, scaling } = ropeOf(text, need);

  return {
    problems,
    architecture: {
      imageTokenId,
      vision: {
        tileSize,
        patchSize,
        maxNumTiles: vision.max_num_tiles,
        hiddenSize: vision.hidden_size,
        attentionHeads: visionHeads,
        intermediateSize: vision.intermediate_size,
        localLayers: vision.num_hidden_layers,
        globalLayers: vision.num_global_layers,
        intermediateLayersIndices: taps,
        normEps: vision.norm_eps,
        outputDim: vision.vision_output_dim,
        supportedAspectRatios: ratios,
      },
      text: {
        hiddenSize: text.hidden_size,
        layers: text.num_hidden_layers,
        crossAttentionLayers: crossLayers,
        attentionHeads: text.num_attention_heads,
        keyValueHeads: text.num_key_value_heads,
        headDim,
        intermediateSize: text.intermediate_size,
        rmsNormEps: text.rms_norm_eps,
        ropeTheta: theta,
        ropeScaling: scaling,
        vocabularySize: text.vocab_size,
        embeddingRows: text.vocab_size + 8,
        maxPositionEmbeddings: text.max_position_embeddings,
      },
    },
  };
}

function ropeOf(
  text: MllamaConfig['text_config'],
  need: (holds: boolean, problem: string) => void,
): { theta: number; scaling: RopeScaling | null } {
  // 5.x moves theta into rope_parameters; 4.x has it beside rope_scaling.
  const rope = text.rope_parameters ?? text.rope_scaling ?? null;
  const theta = rope?.rope_theta ?? text.rope_theta ?? 500_000;
  const type = rope?.rope_type ?? rope?.type ?? 'default';
  if (rope === null || type === 'default') return { theta, scaling: null };
  need(type === 'llama3', `rope type "${type}" is not supported, only "llama3" and "default"`);
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = rope;
  if (factor === undefined || low === undefined || high === undefined || original === undefined) {
    need(
      type !== 'llama3',
      'llama3 rope scaling needs factor, low_freq_factor, high_freq_factor, original_max_position_embeddings',
    );
    return { theta, scaling: null };
  }
  need(high > low, `rope high_freq_factor ${high} must exceed low_freq_factor ${low}`);
  return {
    theta,
    scaling: { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositionEmbeddings: original },
  };
}

function isAscending(values: readonly number[]): boolean {
  return values.every((value, i) => i === 0 || value > values[i - 1]!);
}
