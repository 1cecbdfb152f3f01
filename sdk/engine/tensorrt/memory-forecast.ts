/**
 * What a model will take of the device's memory, from its sizes alone: no device and no plan is needed. The addon
 * counts again when plans are there, exactly; this is what can be said before an hour of building. Pure.
 */
import type { ModelDescription } from '../../architecture/architecture.js';
import { packedForm } from '../../architecture/packed-form.js';
import { visionGeometry } from '../../architecture/vision-tokens.js';
import { selfAttentionLayers } from '../../graph/index.js';
import { DEFAULT_LOWERING } from '../../graph/tensorrt/index.js';
import type { TensorRtMode } from './lowering.js';

export interface MemoryForecast {
  readonly parts: readonly MemoryPart[];
  /** Sum of the least. Below it nothing can run. */
  readonly leastBytes: number;
  /** Sum of the most; a device with so much is enough in any case. */
  readonly mostBytes: number;
}

export interface MemoryPart {
  readonly name: 'decoder weights' | 'vision weights' | 'K/V' | 'cross K/V' | 'decoder scratch' | 'vision scratch';
  readonly leastBytes: number;
  readonly mostBytes: number;
}

export interface ForecastOptions {
  readonly contextLength: number;
  readonly mode: TensorRtMode;
}

/** Pictures held: the one that is asked about, and the next, encoded before the first is given up. */
export const IMAGES_AT_ONCE = 2;

/** Of weights, activations and caches. */
const HALF_BYTES = 2;
const FLOAT_BYTES = 4;
const EMBEDDING = 'language_model.model.embed_tokens.weight';

/**
 * Scratch is the part that nobody knows before TensorRT has chosen its kernels. At the least it holds one layer's
 * activations; at the most also the scores of an attention that was not fused, once in float32 and once in 16 bits.
 */
export function forecastTensorRtMemory(model: ModelDescription, options: ForecastOptions): MemoryForecast {
  const { text, vision } = model.architecture;
  const { tokensPerTile } = visionGeometry(vision);
  const exact = (name: MemoryPart['name'], bytes: number): MemoryPart => ({
    name,
    leastBytes: bytes,
    mostBytes: bytes,
  });
  const perPosition = 2 * text.keyValueHeads * text.headDim * HALF_BYTES;
  const selfLayers = selfAttentionLayers(text).length;
  // Standard operators write the present K/V beside the past, not over it.
  const caches = options.mode === 'plugin' ? 1 : 2;
  const imageKeys = vision.maxNumTiles * tokensPerTile;
  const images = text.crossAttentionLayers.length === 0 ? 0 : IMAGES_AT_ONCE;

  const tokens = Math.min(DEFAULT_LOWERING.maxPrefillTokens, options.contextLength);
  const decoderLayer = tokens * (2 * text.intermediateSize + 4 * text.hiddenSize) * FLOAT_BYTES;
  const keys = Math.max(options.contextLength, imageKeys);
  // In plugin mode attention keeps its scores in registers.
  const decoderScores = options.mode === 'plugin' ? 0 : scores(text.attentionHeads, tokens, keys);
  // TensorRT takes scratch for every size at its largest: all real tokens, and the padding of a single tile.
  const visionTokens = imageKeys + tokensPerTile + vision.maxNumTiles;
  const visionLayer = visionTokens * (vision.intermediateSize + 4 * vision.hiddenSize) * FLOAT_BYTES;
  const visionScores = scores(vision.attentionHeads, imageKeys, visionTokens);

  const parts: MemoryPart[] = [
    exact(
      'decoder weights',
      weightBytes(model, (name) => name.startsWith('language_model.') && name !== EMBEDDING),
    ),
    exact('vision weights', images === 0 ? 0 : weightBytes(model, (name) => !name.startsWith('language_model.'))),
    exact('K/V', caches * selfLayers * perPosition * options.contextLength),
    exact('cross K/V', images * text.crossAttentionLayers.length * perPosition * imageKeys),
    { name: 'decoder scratch', leastBytes: decoderLayer, mostBytes: decoderLayer + decoderScores },
    {
      name: 'vision scratch',
      leastBytes: images === 0 ? 0 : visionLayer,
      mostBytes: images === 0 ? 0 : visionLayer + visionScores,
    },
  ];
  const sum = (of: 'leastBytes' | 'mostBytes') => parts.reduce((total, part) => total + part[of], 0);
  return { parts, leastBytes: sum('leastBytes'), mostBytes: sum('mostBytes') };
}

function scores(heads: number, tokens: number, keys: number): number {
  return heads * tokens * keys * (FLOAT_BYTES + HALF_BYTES);
}

/** Without the embedding, which stays in its file. */
export function decoderWeightBytes(model: ModelDescription): number {
  return weightBytes(model, (name) => name.startsWith('language_model.') && name !== EMBEDDING);
}

/** With the projector. */
export function visionWeightBytes(model: ModelDescription): number {
  return weightBytes(model, (name) => !name.startsWith('language_model.'));
}

/** On the device: packed int4 as it lies, everything else in 16 bits. */
function weightBytes(model: ModelDescription, isWanted: (name: string) => boolean): number {
  let bytes = 0;
  for (const [name, { shape, sizeBytes }] of model.tensors) {
    if (!isWanted(name) || name.endsWith('.weight_shape')) continue;
    const linear = /^(.*)\.weight_packed$/.exec(name)?.[1];
    if (linear !== undefined) bytes += packedForm(model, linear).bits === 4 ? sizeBytes : sizeBytes * HALF_BYTES;
    else bytes += shape.reduce((product, side) => product * side, HALF_BYTES);
  }
  return bytes;
}
