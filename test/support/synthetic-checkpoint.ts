/**
 * A checkpoint whose weights come from a formula: a real folder, made in the test. FNV-1a of a tensor's
 * name seeds mulberry32; gates lie around 0.5, norm weights around 1, all else within ±0.25.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { architectureOf, configSchema } from '#sdk/checkpoint/config.js';
import { expectedTensors } from '#sdk/checkpoint/expected-tensors.js';
import { createRandom } from '#sdk/core/random.js';
import { type FreeJson, type RawTensor, writeTensors } from '../unit/checkpoint/checkpoint-folder.js';

export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

function syntheticTensor(name: string, length: number): Float32Array {
  const random = createRandom(fnv1a(name));
  const isGate = /(gate|gate_attn|gate_ffn)$/.test(name);
  const isNorm = name.includes('norm') && name.endsWith('weight');
  return Float32Array.from({ length }, () => {
    const z = 2 * random() - 1;
    if (isGate) return 0.5 + 0.25 * z;
    return isNorm ? 1 + 0.1 * z : 0.25 * z;
  });
}

/** `[4, 3, tileSize, tileSize]`: formula pixels in the first `numTiles` slots. */
export function syntheticPixels(numTiles: number, tileSize: number): Float32Array {
  const random = createRandom(fnv1a('pixels'));
  const pixels = new Float32Array(4 * 3 * tileSize * tileSize);
  for (let i = 0; i < numTiles * 3 * tileSize * tileSize; i++) pixels[i] = 4 * random() - 2;
  return pixels;
}

/** Small, with every kind of layer that the published model has. */
export function tinyConfig(): FreeJson {
  return {
    architectures: ['MllamaForConditionalGeneration'],
    model_type: 'mllama',
    image_token_index: 300,
    text_config: {
      model_type: 'mllama_text_model',
      hidden_size: 64,
      num_hidden_layers: 10,
      cross_attention_layers: [3, 8],
      num_attention_heads: 4,
      num_key_value_heads: 2,
      intermediate_size: 96,
      vocab_size: 300,
      rms_norm_eps: 1e-5,
      rope_theta: 500000,
      rope_scaling: {
        rope_type: 'llama3',
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 8192,
      },
      max_position_embeddings: 131072,
      tie_word_embeddings: false,
      hidden_act: 'silu',
      bos_token_id: 0,
      pad_token_id: 1,
      eos_token_id: [2],
    },
    vision_config: {
      model_type: 'mllama_vision_model',
      hidden_size: 32,
      attention_heads: 4,
      intermediate_size: 64,
      num_hidden_layers: 6,
      num_global_layers: 2,
      intermediate_layers_indices: [1, 3, 4],
      image_size: 42,
      patch_size: 14,
      num_channels: 3,
      max_num_tiles: 4,
      norm_eps: 1e-5,
      vision_output_dim: 128,
      hidden_act: 'gelu',
      supported_aspect_ratios: [
        [1, 1],
        [1, 2],
        [1, 3],
        [1, 4],
        [2, 1],
        [2, 2],
        [3, 1],
        [4, 1],
      ],
    },
  };
}

/** Writes the folder; `rename` gives tensors other names in the file than the published ones. */
export function writeSyntheticCheckpoint(directory: string, config: FreeJson, rename = (name: string) => name): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(path.join(directory, 'config.json'), JSON.stringify(config));
  const { image_size: side } = config.vision_config;
  const processor = {
    image_processor_type: 'MllamaImageProcessor',
    do_convert_rgb: true,
    do_resize: true,
    do_rescale: true,
    do_normalize: true,
    do_pad: true,
    image_mean: [0.48145466, 0.4578275, 0.40821073],
    image_std: [0.26862954, 0.26130258, 0.27577711],
    max_image_tiles: 4,
    resample: 2,
    rescale_factor: 1 / 255,
    size: { height: side, width: side },
  };
  writeFileSync(path.join(directory, 'preprocessor_config.json'), JSON.stringify(processor));
  const { architecture } = architectureOf(configSchema.parse(config));
  const tensors = new Map<string, RawTensor>();
  for (const { name, shape } of expectedTensors(architecture)) {
    const values = syntheticTensor(
      name,
      shape.reduce((product, size) => product * size, 1),
    );
    tensors.set(rename(name), { dtype: 'F32', shape: [...shape], data: Buffer.from(values.buffer) });
  }
  writeTensors(path.join(directory, 'model.safetensors'), tensors);
}
