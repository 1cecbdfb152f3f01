/**
 * The vision tower for TensorRT. Weights and tokens are those of the CPU graph; the two ways of attending (real tokens
 * to all keys, padding to the real ones) are told apart by two lists of tokens, and what a merged token weighs is a bias
 * of its key.
 *
 * Real tokens and padding come as inputs of their own that the graph joins. A number of tokens beside them as a third
 * size would be one that a profile lets vary alone: at the bounds of all three the tokens would not add up, and the
 * runtime works out the shapes at those bounds.
 */
import type { ModelDescription, VisionArchitecture } from '../../architecture/architecture.js';
import { type VisionTokens, visionGeometry } from '../../architecture/vision-tokens.js';
import type { Value } from '../builder.js';
import { type VisionLowering, visionLayers, visionTraces } from '../vision-layers.js';
import { Lowering } from './lowering.js';
import type { LoweringOptions } from './options.js';

/**
 * Inputs: `pixel_values` float32 `[slots,3,S,S]`, `aspect_ratio_id` int64 `[1]`, and as `loweredVisionTokens` gives them
 * `real_tokens`, `real_slots`, `real_rows` int64 `[Q]`, `real_bias` float32 `[Q]`, the same of padding `[P]`,
 * `feature_rows [F]` and `state_rows [K]` int64. Instrumented: also `full_sequence [T·P']`, and states of all slots are
 * expected.
 * Output: `cross_attention_states [K, textHidden]` in the decoder's type.
 *
 * @param groups Heads attend in so many groups, one after another.
 */
export function lowerVision(model: ModelDescription, options: LoweringOptions, groups = 1): Lowering {
  return new LoweredVision(model, options, groups).build();
}

/** Groups of heads in the form for where attention is not fused: a quarter of the scores at a time. */
export const ATTENTION_GROUPS = 4;

/** Index lists and biases that the vision graph takes. */
export interface LoweredVisionTokens {
  /** int64 inputs by name. */
  readonly lists: Readonly<
    Record<
      | 'real_tokens'
      | 'padding_tokens'
      | 'real_slots'
      | 'padding_slots'
      | 'real_rows'
      | 'padding_rows'
      | 'feature_rows'
      | 'state_rows',
      readonly number[]
    >
  >;
  /** float32 inputs by name: ln of how many tokens each key stands for. */
  readonly biases: Readonly<Record<'real_bias' | 'padding_bias', Float32Array>>;
}

/** `visionTokens` as the inputs of this graph: lists of indices, from whose lengths all sizes follow. */
export function loweredVisionTokens(tokens: VisionTokens): LoweredVisionTokens {
  const { realTokens, featureTokens, tokenPlaces, tokenSlots, weights, stateTokens } = tokens;
  const upTo = (end: number, start = 0) => Array.from({ length: end - start }, (_, i) => start + i);
  /** A key that stands for m equal ones gets ln m: m · exp(s) = exp(s + ln m). */
  const bias = Float32Array.from(weights, Math.log);
  return {
    lists: {
      real_tokens: tokenPlaces.slice(0, realTokens),
      padding_tokens: tokenPlaces.slice(realTokens),
      real_slots: tokenSlots.slice(0, realTokens),
      padding_slots: tokenSlots.slice(realTokens),
      real_rows: upTo(realTokens),
      padding_rows: upTo(tokenPlaces.length, realTokens),
      feature_rows: upTo(featureTokens),
      state_rows: stateTokens,
    },
    biases: { real_bias: bias.subarray(0, realTokens), padding_bias: bias.subarray(realTokens) },
  };
}

class LoweredVision extends Lowering implements VisionLowering {
  readonly vision: VisionArchitecture;
  readonly #textHidden: number;
  readonly #options: LoweringOptions;
  readonly #groups: number;
  #realTokens: Value = '';
  #paddingTokens: Value = '';
  #featureTokens: Value = '';
  /** `[1, 1, 1, Q + P]`, in the type of the scores. */
  #bias: Value = '';

  constructor(model: ModelDescription, options: LoweringOptions, groups: number) {
    super('vision', model, options, options.visionType);
    this.vision = model.architecture.vision;
    this.#textHidden = model.architecture.text.hiddenSize;
    this.#options = options;
    this.#groups = Math.min(groups, model.architecture.vision.attentionHeads);
  }

  build(): this {
    const { b } = this;
    const { tileSize, maxNumTiles } = this.vision;
    const { instrument, taps, decoderType } = this.#options;
    const list = (name: string, size: string) => b.input(name, 'int64', [size]);
    const joined = (name: string) => b.concat([list(`real_${name}`, 'Q'), list(`padding_${name}`, 'P')], 0);
    const inputs = {
      pixels: b.input('pixel_values', 'float32', ['slots', 3, tileSize, tileSize]),
      aspectRatioId: b.input('aspect_ratio_id', 'int64', [1]),
      tokenPlaces: joined('tokens'),
      tokenSlots: joined('slots'),
      stateTokens: list('state_rows', 'K'),
    };
    this.#realTokens = list('real_rows', 'Q');
    this.#paddingTokens = list('padding_rows', 'P');
    this.#featureTokens = list('feature_rows', 'F');
    const biases = [b.input('real_bias', 'float32', ['Q']), b.input('padding_bias', 'float32', ['P'])];
    this.#bias = b.as(b.node('Unsqueeze', [b.concat(biases, 0), b.ints([0, 1, 2])]), this.type);
    const allTokens = maxNumTiles * visionGeometry(this.vision).paddedTokensPerTile;
    const traces = instrument
      ? visionTraces(this, b.input('full_sequence', 'int64', [allTokens]), inputs.stateTokens)
      : { tokens: () => {}, features: (_: Value) => {} };
    const states = visionLayers(this, inputs, taps, traces.tokens, (features) =>
      traces.features(b.as(features, 'float32')),
    );
    b.output(b.as(states, decoderType), 'cross_attention_states', decoderType, ['K', this.#textHidden]);
    return this;
  }

  /** Only that row is read and cast. */
  row(name: string, index: Value): Value {
    return this.b.as(this.b.gather(this.stored(name), index), 'float32');
  }

  zeros(shape: readonly number[]): Value {
    return this.b.node('Expand', [this.b.scalar(0), this.b.ints(shape)]);
  }

  layerNorm(x: Value, name: string): Value {
    const inputs = [this.b.as(x, 'float32'), this.float(`${name}.weight`), this.float(`${name}.bias`)];
    const attributes = { axis: -1, epsilon: { float: this.vision.normEps } };
    return this.b.node('LayerNormalization', inputs, { attributes });
  }

  gelu(x: Value): Value {
    return this.b.node('Gelu', [this.b.as(x, 'float32')], { attributes: { approximate: 'none' } });
  }

  /** A convolution whose windows do not overlap is a product of each window. */
  patches(pixels: Value, weight: string): Value {
    const { b, type } = this;
    const { tileSize, patchSize: p, hiddenSize } = this.vision;
    const side = Math.floor(tileSize / p);
    const whole = b.ints([side * p]);
    const cut = (x: Value, axis: number) => (side * p === tileSize ? x : b.slice(x, b.ints([0]), whole, axis));
    const windows = b.reshape(cut(cut(pixels, 2), 3), [-1, 3, side, p, side, p]);
    const columns = b.reshape(b.transpose(windows, [0, 2, 4, 1, 3, 5]), [-1, 3 * p * p]);
    const kernel = b.as(this.stored(weight, [hiddenSize, 3 * p * p]), type);
    const made = b.node('Gemm', [b.as(columns, type), kernel], { attributes: { transB: 1 } });
    return b.reshape(made, [-1, side * side, hiddenSize]);
  }

  /**
   * What TensorRT documents for making one kernel of it: products of rank 4, `[1, heads, tokens, headDim]`, the query
   * scaled before its product, a bias added to the scores, and no change of type from the first product to the last (a
   * fused kernel sums in float32 whatever the type; so does Softmax). Where it cannot, scores are held in full: of the
   * 11B model with four tiles 16 heads × 6404 × 6408 numbers, 1.3 GB in 16 bits, or of a group of heads at a time.
   * Sizes are kept (0) rather than left over (-1), so that the number of tokens stays that of the inputs.
   */
  attention(project: (name: 'q' | 'k' | 'v') => Value): Value {
    const { b, type } = this;
    const { hiddenSize: hidden, attentionHeads: heads } = this.vision;
    const headDim = hidden / heads;
    const batch = b.ints([0]);
    // [Q + P, hidden] → [1, heads, Q + P, headDim]
    const headsFirst = (x: Value) =>
      b.node('Unsqueeze', [b.transpose(b.reshape(x, [0, heads, headDim]), [1, 0, 2]), batch]);
    const scale = b.scalar(1 / Math.sqrt(headDim));
    const query = headsFirst(b.as(b.mul(b.as(project('q'), 'float32'), scale), type));
    const key = headsFirst(project('k'));
    const value = headsFirst(project('v'));
    const attend = (q: Value, k: Value, v: Value, bias?: Value) => {
      const scores = b.node('MatMul', [q, b.transpose(k, [0, 1, 3, 2])]);
      const biased = bias === undefined ? scores : b.add(scores, bias);
      return b.node('MatMul', [b.node('Softmax', [biased], { attributes: { axis: -1 } }), v]);
    };
    const real = (x: Value) => b.gather(x, this.#realTokens, 2);
    const attended = this.#grouped([query, key, value], (q, k, v) => {
      const ofReal = attend(real(q), k, v, this.#bias);
      const ofPadding = attend(b.gather(q, this.#paddingTokens, 2), real(k), real(v));
      return b.concat([ofReal, ofPadding], 2);
    });
    const joined = b.node('Squeeze', [attended, batch]); // [heads, Q + P, headDim]
    return b.reshape(b.transpose(joined, [1, 0, 2]), [0, hidden]);
  }

  /** Of each group of heads, put together again. */
  #grouped(whole: readonly [Value, Value, Value], attend: (q: Value, k: Value, v: Value) => Value): Value {
    const { b } = this;
    if (this.#groups === 1) return attend(...whole);
    const { attentionHeads: heads } = this.vision;
    const ends = Array.from({ length: this.#groups + 1 }, (_, group) => Math.floor((group * heads) / this.#groups));
    const parts = ends.slice(1).map((end, group) => {
      const [q, k, v] = whole.map((x) => b.slice(x, b.ints([ends[group]!]), b.ints([end]), 1));
      return attend(q!, k!, v!);
    });
    return b.concat(parts, 1);
  }

  featureTokens(x: Value): Value {
    return this.b.as(this.b.gather(x, this.#featureTokens), this.type);
  }
}
