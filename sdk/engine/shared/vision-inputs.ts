/** What the vision graph takes of one image: all tokens, or one of those that are copies of each other. */
import type { MllamaArchitecture } from '../../architecture/architecture.js';
import { type VisionTokens, visionTokens } from '../../architecture/vision-tokens.js';
import type { ProcessedImage } from '../../image/processed-image.js';
import type { Numerics } from '../engine.js';
import { dropsAttentionOfBlindTokens } from './cross-attention.js';

export interface VisionInputs {
  readonly tokens: VisionTokens;
  /** Of the slots that are computed; a part of the image's array. */
  readonly pixelValues: Float32Array;
  readonly pixelShape: readonly number[];
}

export interface VisionInputsConfig {
  readonly architecture: MllamaArchitecture;
  readonly numerics: Numerics;
  /** By aspect ratio id: from how many used tiles on unused slots are copies of each other. Empty: not known, never. */
  readonly mergeableFrom: readonly number[];
  /** Every slot is computed: golden cases hold them all. */
  readonly trace: boolean;
}

export function chooseVisionTokens(
  config: VisionInputsConfig,
  image: Pick<ProcessedImage, 'pixelValues' | 'aspectRatioId' | 'numTiles'>,
): VisionInputs {
  const { vision } = config.architecture;
  const { pixelValues, aspectRatioId, numTiles } = image;
  const { tileSize, maxNumTiles } = vision;
  const slotLength = 3 * tileSize ** 2;
  const from = config.mergeableFrom[aspectRatioId];
  const merged = from !== undefined && numTiles >= from && areSlotsEqual(pixelValues, numTiles, maxNumTiles);
  // Golden cases hold all slots; other numerics than `meta` look at them.
  const allSlots = config.trace || !dropsAttentionOfBlindTokens(config.numerics);
  const tokens = visionTokens(vision, { numTiles, merged, allSlots });
  return {
    tokens,
    pixelValues: pixelValues.subarray(0, tokens.slots * slotLength),
    pixelShape: [tokens.slots, 3, tileSize, tileSize],
  };
}

export interface TensorMaker<Tensor> {
  float(data: Float32Array, dims: readonly number[]): Tensor;
  /** `[values.length]`. */
  int64(values: readonly number[]): Tensor;
}

/** What one graph of a tower hands to those behind it. */
export interface VisionHandover<Tensor> {
  /** Of the graph just before; undefined for the first. */
  readonly hidden: Tensor | undefined;
  /** By their names, of all graphs before. */
  readonly taps: Readonly<Record<string, Tensor>>;
}

/** Whether an output of a graph is for the last one. */
export const isTap = (name: string): boolean => name.startsWith('tap.');

/** What one of the graphs takes that are run one behind the other; see `emitVisionRange`. One that is alone is both. */
export function rangeFeeds<Tensor>(
  { pixel_values, row_tokens, state_rows, ...shared }: ReturnType<typeof visionFeeds<Tensor>>,
  { hidden, taps }: VisionHandover<Tensor>,
  isLast: boolean,
): Record<string, Tensor> {
  return {
    ...shared,
    ...(hidden === undefined ? { pixel_values, row_tokens } : { hidden }),
    ...(isLast && { state_rows, ...taps }),
  };
}

/** The inputs of the graph by their names; `full_sequence`, which only instrumented graphs have, is not among them. */
export function visionFeeds<Tensor>(
  { tokens, pixelValues, pixelShape }: VisionInputs,
  aspectRatioId: number,
  make: TensorMaker<Tensor>,
) {
  return {
    pixel_values: make.float(pixelValues, pixelShape),
    row_tokens: make.int64(tokens.tokenPlaces),
    state_rows: make.int64(tokens.stateTokens),
    aspect_ratio_id: make.int64([aspectRatioId]),
    row_slots: make.int64(tokens.tokenSlots),
    key_weights: make.float(Float32Array.from(tokens.weights), [tokens.weights.length]),
    real_rows: make.int64([tokens.realTokens]),
    feature_rows: make.int64([tokens.featureTokens]),
  };
}

/** The processor leaves unused slots 0; whoever fills them gets what the full sequence gives. */
function areSlotsEqual(pixels: Float32Array, from: number, slots: number): boolean {
  const slotBytes = pixels.byteLength / slots;
  const bytesOf = (slot: number) => Buffer.from(pixels.buffer, pixels.byteOffset + slot * slotBytes, slotBytes);
  for (let slot = from + 1; slot < slots; slot++) {
    if (!bytesOf(from).equals(bytesOf(slot))) return false;
  }
  return true;
}
