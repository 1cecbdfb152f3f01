/**
 * The vision tower for TensorRT. Weights and rows are those of the CPU graph; the two ways of attending (real rows to all keys, padding to the real ones) are told
 * apart by two lists of rows, and what a merged row weighs is a bias of its key.
 */
import type { ModelDescription, VisionArchitecture } from '../../architecture/architecture.js';
import { type VisionRows, visionGeometry } from '../../architecture/vision-rows.js';
import type { Value } from '../builder.js';
import { type VisionLowering, visionLayers, visionTraces } from '../vision-layers.js';
import { Lowering } from './lowering.js';
import type { LoweringOptions } from './options.js';

/**
 * Inputs: `pixel_values` float32 `[slots,3,S,S]`, `aspect_ratio_id` int64 `[1]`, and as `loweredVisionRows` gives them
 * `row_tokens [R]`, `row_slots [R]`, `real_rows [Q]`, `padding_rows [P]`, `feature_rows [F]`, `state_rows [K]` int64
 * and `key_bias [R]` float32. Instrumented: also `full_sequence [T·P']`, and states of all slots are expected.
 * Output: `cross_attention_states [K, textHidden]` in the decoder's type.
 */
export function lowerVision(model: ModelDescription, options: LoweringOptions): Lowering {
  return new LoweredVision(model, options).build();
}

/** `visionRows` as the inputs of this graph: lists of rows, from whose lengths all sizes follow. */
export function loweredVisionRows(rows: VisionRows) {
  const upTo = (end: number, start = 0) => Array.from({ length: end - start }, (_, i) => start + i);
  return {
    row_tokens: rows.tokens,
    row_slots: rows.rowSlots,
    real_rows: upTo(rows.realRows),
    padding_rows: upTo(rows.tokens.length, rows.realRows),
    feature_rows: upTo(rows.featureRows),
    state_rows: rows.stateRows,
    /** A key that stands for m equal ones gets ln m: m · exp(s) = exp(s + ln m). */
    key_bias: Float32Array.from(rows.weights, Math.log),
  } as const;
}

class LoweredVision extends Lowering implements VisionLowering {
  readonly vision: VisionArchitecture;
  readonly #textHidden: number;
  readonly #options: LoweringOptions;
  #realRows: Value = '';
  #paddingRows: Value = '';
  #featureRows: Value = '';
  /** `[1, 1, R]`. */
  #bias: Value = '';

  constructor(model: ModelDescription, options: LoweringOptions) {
    super('vision', model, options, options.visionType);
    this.vision = model.architecture.vision;
    this.#textHidden = model.architecture.text.hiddenSize;
    this.#options = options;
  }

  build(): this {
    const { b } = this;
    const { tileSize, maxNumTiles } = this.vision;
    const { instrument, taps, decoderType } = this.#options;
    const list = (name: string, size: string) => b.input(name, 'int64', [size]);
    const inputs = {
      pixels: b.input('pixel_values', 'float32', ['slots', 3, tileSize, tileSize]),
      aspectRatioId: b.input('aspect_ratio_id', 'int64', [1]),
      rowTokens: list('row_tokens', 'R'),
      rowSlots: list('row_slots', 'R'),
      stateRows: list('state_rows', 'K'),
    };
    this.#realRows = list('real_rows', 'Q');
    this.#paddingRows = list('padding_rows', 'P');
    this.#featureRows = list('feature_rows', 'F');
    this.#bias = b.reshape(b.input('key_bias', 'float32', ['R']), [1, 1, -1]);
    const allRows = maxNumTiles * visionGeometry(this.vision).paddedTokensPerTile;
    const traces = instrument
      ? visionTraces(this, b.input('full_sequence', 'int64', [allRows]), inputs.stateRows)
      : { rows: () => {}, features: (_: Value) => {} };
    const states = visionLayers(this, inputs, taps, traces.rows, (features) =>
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
   * TensorRT's builder makes one kernel of such a chain when it can. Where it cannot, scores are held in full: of the
   * 11B model with four tiles 16 heads × 6404 × 6408 numbers, 2.6 GB in float32.
   */
  attention(project: (name: 'q' | 'k' | 'v') => Value): Value {
    const { b, type } = this;
    const { hiddenSize: hidden, attentionHeads: heads } = this.vision;
    const headDim = hidden / heads;
    const headsFirst = (x: Value) => b.transpose(b.reshape(x, [-1, heads, headDim]), [1, 0, 2]); // [heads, R, headDim]
    const scale = b.scalar(1 / Math.sqrt(headDim));
    const query = headsFirst(b.as(b.mul(b.as(project('q'), 'float32'), scale), type));
    const key = headsFirst(project('k'));
    const value = headsFirst(project('v'));
    const attend = (q: Value, k: Value, v: Value, bias?: Value) => {
      const scores = b.as(b.node('MatMul', [q, b.transpose(k, [0, 2, 1])]), 'float32');
      const attributes = { axis: -1 };
      const weights = b.node('Softmax', [bias === undefined ? scores : b.add(scores, bias)], { attributes });
      return b.node('MatMul', [b.as(weights, type), v]);
    };
    const real = (x: Value) => b.gather(x, this.#realRows, 1);
    const ofReal = attend(real(query), key, value, this.#bias);
    const ofPadding = attend(b.gather(query, this.#paddingRows, 1), real(key), real(value));
    const joined = b.reshape(b.transpose(b.concat([ofReal, ofPadding], 1), [1, 0, 2]), [-1, hidden]);
    // Says that Q + P is R, which the runtime cannot know.
    return b.node('Reshape', [joined, b.concat([b.dimension(query, 1), b.ints([hidden])], 0)]);
  }

  featureRows(x: Value): Value {
    return this.b.as(this.b.gather(x, this.#featureRows), this.type);
  }
}
