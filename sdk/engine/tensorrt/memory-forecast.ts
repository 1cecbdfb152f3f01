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

/** What a model needs of a device, part by part. */
export interface MemoryForecast {
  readonly parts: readonly MemoryPart[];
  /** Sum of the least. Below it nothing can run. */
  readonly leastBytes: number;
  /** Sum of the most; a device with so much is enough in any case. */
  readonly mostBytes: number;
}

/** What memory is for, and within which bounds. */
export interface MemoryPart {
  readonly name:
    | 'decoder layers'
    | 'lm_head'
    | 'vision weights'
    | 'K/V'
    | 'cross K/V'
    | 'scratch'
    | 'embeddings (rows of the file)';
  readonly leastBytes: number;
  readonly mostBytes: number;
}

/** What memory depends on beside the model. */
export interface ForecastOptions {
  readonly contextLength: number;
  readonly mode: TensorRtMode;
  /** Instead of what the checkpoint holds, to learn what it would save. */
  readonly changes?: MemoryChanges | undefined;
}

/** What would make a model smaller; see `forecastMemorySavings`. */
export interface MemoryChanges {
  /** The last layer in so many bits, with a scale for each group of 128 inputs. */
  readonly lmHeadBits?: 4 | 8 | undefined;
  /** Products of the vision tower in so many bits, with a scale for each output. */
  readonly visionBits?: 8 | undefined;
  /** Embeddings in so many bits, with a scale for each row. */
  readonly embeddingBits?: 8 | undefined;
  /** Pictures held at a time: one is given up before the next is encoded. */
  readonly pictures?: 1 | undefined;
  /** Tiles of a picture at most. */
  readonly tiles?: number | undefined;
  /** Of the positions of tiles only the rows of a picture's shape, read out of the file. */
  readonly tilePositionsByRow?: boolean | undefined;
}

/** Pictures held: the one that is asked about, and the next, encoded before the first is given up. */
export const IMAGES_AT_ONCE = 2;

/** Of weights, activations and caches. */
const HALF_BYTES = 2;
const FLOAT_BYTES = 4;
const EMBEDDING = 'language_model.model.embed_tokens.weight';
const LM_HEAD = 'language_model.lm_head.';
const TILE_POSITIONS = /\.gated_positional_embedding\.tile_embedding\.weight$/;
/** Inputs that share a scale. */
const GROUP = 128;

/**
 * Scratch is the part that nobody knows before TensorRT has chosen its kernels; all engines share one. At the least it
 * holds one layer's activations; at the most also the scores of an attention that was not fused, once in float32 and once
 * in 16 bits.
 */
export function forecastTensorRtMemory(model: ModelDescription, options: ForecastOptions): MemoryForecast {
  const { text, vision } = model.architecture;
  const { changes = {} } = options;
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
  const tiles = Math.min(changes.tiles ?? vision.maxNumTiles, vision.maxNumTiles);
  const imageKeys = tiles * tokensPerTile;
  const images = text.crossAttentionLayers.length === 0 ? 0 : (changes.pictures ?? IMAGES_AT_ONCE);

  const tokens = Math.min(DEFAULT_LOWERING.maxPrefillTokens, options.contextLength);
  const decoderLayer = tokens * (2 * text.intermediateSize + 4 * text.hiddenSize) * FLOAT_BYTES;
  const keys = Math.max(options.contextLength, imageKeys);
  // In plugin mode attention keeps its scores in registers.
  const decoderScores = options.mode === 'plugin' ? 0 : scores(text.attentionHeads, tokens, keys);
  // TensorRT takes scratch for every size at its largest: all real tokens, and the padding of a single tile.
  const visionTokens = imageKeys + tokensPerTile + tiles;
  const visionLayer = images === 0 ? 0 : visionTokens * (vision.intermediateSize + 4 * vision.hiddenSize) * FLOAT_BYTES;
  const visionScores = images === 0 ? 0 : scores(vision.attentionHeads, imageKeys, visionTokens);

  const parts: MemoryPart[] = [
    exact(
      'decoder layers',
      weightBytes(model, (name) => isOfDecoder(name) && !name.startsWith(LM_HEAD)),
    ),
    exact('lm_head', headBytes(model, changes.lmHeadBits)),
    exact('vision weights', images === 0 ? 0 : changedVisionBytes(model, changes)),
    exact('K/V', caches * selfLayers * perPosition * options.contextLength),
    exact('cross K/V', images * text.crossAttentionLayers.length * perPosition * imageKeys),
    {
      name: 'scratch',
      leastBytes: Math.max(decoderLayer, visionLayer),
      mostBytes: Math.max(decoderLayer + decoderScores, visionLayer + visionScores),
    },
    // The table itself stays in its file: of its pages those are in memory that tokens in use have read.
    exact(
      'embeddings (rows of the file)',
      Math.min(options.contextLength, text.embeddingRows) *
        (changes.embeddingBits === 8 ? text.hiddenSize + FLOAT_BYTES : text.hiddenSize * HALF_BYTES),
    ),
  ];
  const sum = (of: 'leastBytes' | 'mostBytes') => parts.reduce((total, part) => total + part[of], 0);
  return { parts, leastBytes: sum('leastBytes'), mostBytes: sum('mostBytes') };
}

function scores(heads: number, tokens: number, keys: number): number {
  return heads * tokens * keys * (FLOAT_BYTES + HALF_BYTES);
}

/** Without the embedding, which stays in its file. */
export function decoderWeightBytes(model: ModelDescription): number {
  return weightBytes(model, isOfDecoder);
}

function isOfDecoder(name: string): boolean {
  return name.startsWith('language_model.') && name !== EMBEDDING;
}

/** As it is held, or in `bits`: values, and float16 scales. */
function headBytes(model: ModelDescription, bits: MemoryChanges['lmHeadBits']): number {
  const asItIs = weightBytes(model, (name) => name.startsWith(LM_HEAD));
  const { vocabularySize, hiddenSize } = model.architecture.text;
  const values = vocabularySize * hiddenSize;
  return bits === undefined ? asItIs : Math.min(asItIs, (values * bits) / 8 + (values / GROUP) * HALF_BYTES);
}

function changedVisionBytes(model: ModelDescription, { visionBits, tilePositionsByRow }: MemoryChanges): number {
  let bytes = 0;
  for (const [name, { shape }] of model.tensors) {
    if (name.startsWith('language_model.')) continue;
    const count = shape.reduce((product, side) => product * side, 1);
    const isProduct = shape.length === 2 && name.endsWith('.weight') && !name.includes('embedding');
    if (visionBits === 8 && isProduct) bytes += count + shape[0]! * FLOAT_BYTES;
    else if (tilePositionsByRow === true && TILE_POSITIONS.test(name)) bytes += shape[1]! * HALF_BYTES;
    else bytes += count * HALF_BYTES;
  }
  return bytes;
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
