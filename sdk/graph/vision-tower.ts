/**
 * The vision tower for ONNX Runtime, in float32.
 *
 * The reference masks attention between two tokens only when both are padding. Instead of a `[N, N]` mask the
 * tokens are brought into the order *real tokens, then padding*: real queries take all keys, padding queries take the
 * real keys, both without a mask. That is the same sum, and leaves the fast attention path open.
 */
import type { ModelDescription, VisionArchitecture } from '../architecture/architecture.js';
import { visionGeometry } from '../architecture/vision-tokens.js';
import { GraphBuilder, MICROSOFT, type Value } from './builder.js';
import type { GraphOptions } from './options.js';
import {
  type VisionLowering,
  type VisionRange,
  type VisionState,
  visionEmbedding,
  visionFeatures,
  visionLayers,
  visionRange,
  visionTraces,
} from './vision-layers.js';
import { Weights } from './weights.js';

/** What all layers share. */
interface Sequence {
  /** int64 `[1]`: how many tokens belong to used slots; they are the first ones. */
  readonly realTokens: Value;
  /** int64 `[1]`: how many there are. */
  readonly tokens: Value;
  /** `[1, realTokens, heads, 1]` and `[1, tokens, heads, 1]`: their products are what weights add to attention logits. */
  readonly queryColumn: Value;
  readonly keyColumn: Value;
}

/**
 * Model `pixel_values [slots,3,S,S], aspect_ratio_id [1]` and, as `visionTokens` gives them, `row_tokens [R],
 * row_slots [R], key_weights [R], real_rows [1], feature_rows [1], state_rows [K]` → `cross_attention_states
 * [K, textHidden]`. Instrumented: also `full_sequence [T·P']`, and states of all slots are expected.
 */
export function emitVisionTower(model: ModelDescription, options: GraphOptions): Uint8Array {
  return new VisionTower(model, options).emit();
}

/**
 * Some layers of the tower in a graph of their own, to run one behind the other. All take `aspect_ratio_id,
 * row_slots, key_weights, real_rows, feature_rows` as above. The first takes `pixel_values, row_tokens` too, the others
 * `hidden [R, hidden]`; the last one gives `cross_attention_states` from `state_rows` and `tap.I [feature_rows, hidden]`
 * of all states that earlier ones gave under that name, the others `new_hidden`.
 */
export function emitVisionRange(model: ModelDescription, options: GraphOptions, range: VisionRange): Uint8Array {
  return new VisionTower(model, options).emitRange(range);
}

class VisionTower implements VisionLowering {
  readonly b = new GraphBuilder('vision');
  readonly vision: VisionArchitecture;
  readonly #w: Weights;
  readonly #textHidden: number;
  readonly #options: GraphOptions;
  #sequence: Sequence | undefined;
  #featureTokens: Value = '';

  constructor(model: ModelDescription, options: GraphOptions) {
    this.#w = new Weights(model, options.weightsRoot, options.accuracyLevel);
    this.vision = model.architecture.vision;
    this.#textHidden = model.architecture.text.hiddenSize;
    this.#options = options;
  }

  emit(): Uint8Array {
    const { b } = this;
    const pixels = this.#pixels();
    const tokenInputs = this.#tokenInputs();
    const stateTokens = this.#stateTokens();
    const { instrument, taps } = this.#options;
    const allTokens = this.vision.maxNumTiles * visionGeometry(this.vision).paddedTokensPerTile;
    const traces = instrument
      ? visionTraces(this, b.input('full_sequence', 'int64', [allTokens]), stateTokens)
      : { tokens: () => {}, features: () => {} };
    const inputs = { ...pixels, ...tokenInputs, stateTokens };
    this.#giveStates(visionLayers(this, inputs, taps, traces.tokens, traces.features));
    return b.encode();
  }

  emitRange(range: VisionRange): Uint8Array {
    const { b } = this;
    const { localLayers, globalLayers, hiddenSize, intermediateLayersIndices } = this.vision;
    const { taps } = this.#options;
    const noTrace = () => {};
    const inputs = this.#tokenInputs();
    const before: VisionState =
      range.first === 0
        ? visionEmbedding(this, { ...this.#pixels(), ...inputs }, taps, noTrace)
        : { x: b.input('hidden', 'float32', ['R', hiddenSize]), tapped: new Map() };
    const after = visionRange(this, before, range, inputs, taps, noTrace);
    if (range.end === localLayers + globalLayers) {
      const tapped = new Map(after.tapped);
      for (const index of intermediateLayersIndices.keys()) {
        if (!tapped.has(index)) tapped.set(index, b.input(`tap.${index}`, 'float32', ['F', hiddenSize]));
      }
      this.#giveStates(visionFeatures(this, { x: after.x, tapped }, { stateTokens: this.#stateTokens() }, noTrace));
    } else {
      b.output(after.x, 'new_hidden', 'float32', ['R', hiddenSize]);
      for (const [index, x] of after.tapped) {
        b.output(this.featureTokens(x), `tap.${index}`, 'float32', ['F', hiddenSize]);
      }
    }
    return b.encode();
  }

  #pixels() {
    const { tileSize } = this.vision;
    return {
      pixels: this.b.input('pixel_values', 'float32', ['slots', 3, tileSize, tileSize]),
      tokenPlaces: this.b.input('row_tokens', 'int64', ['R']),
    };
  }

  #tokenInputs() {
    const { b } = this;
    const aspectRatioId = b.input('aspect_ratio_id', 'int64', [1]);
    const tokenSlots = b.input('row_slots', 'int64', ['R']);
    const keyWeights = b.input('key_weights', 'float32', ['R']);
    const realTokens = b.input('real_rows', 'int64', [1]);
    this.#featureTokens = b.input('feature_rows', 'int64', [1]);
    this.#sequence = this.#weigh(realTokens, keyWeights);
    return { aspectRatioId, tokenSlots };
  }

  #stateTokens(): Value {
    return this.b.input('state_rows', 'int64', ['K']);
  }

  #giveStates(states: Value): void {
    this.b.output(states, 'cross_attention_states', 'float32', ['K', this.#textHidden]);
  }

  float(name: string): Value {
    return this.#w.float(this.b, name);
  }

  row(name: string, index: Value): Value {
    return this.#w.row(this.b, name, index);
  }

  gate(name: string): Value {
    return this.#w.gate(this.b, name);
  }

  zeros(shape: readonly number[]): Value {
    return this.b.node('Expand', [this.b.scalar(0), this.b.ints(shape)]);
  }

  linear(x: Value, name: string, bias?: boolean): Value {
    return this.#w.linear(this.b, x, name, bias);
  }

  layerNorm(x: Value, name: string): Value {
    return this.b.node('LayerNormalization', [x, this.float(`${name}.weight`), this.float(`${name}.bias`)], {
      attributes: { axis: -1, epsilon: { float: this.vision.normEps } },
    });
  }

  gelu(x: Value): Value {
    return this.b.node('Gelu', [x], { attributes: { approximate: 'none' } });
  }

  add(x: Value, y: Value): Value {
    return this.b.add(x, y);
  }

  mul(x: Value, y: Value): Value {
    return this.b.mul(x, y);
  }

  patches(pixels: Value, weight: string): Value {
    const { b } = this;
    const { patchSize, hiddenSize } = this.vision;
    const kernel = [patchSize, patchSize];
    const convolved = b.node('Conv', [pixels, this.float(weight)], {
      attributes: { kernel_shape: kernel, strides: kernel },
    });
    return b.transpose(b.reshape(convolved, [0, hiddenSize, visionGeometry(this.vision).tokensPerTile - 1]), [0, 2, 1]);
  }

  attention(project: (name: 'q' | 'k' | 'v') => Value): Value {
    const { b } = this;
    const { hiddenSize: hidden, attentionHeads: heads } = this.vision;
    const { realTokens, tokens, queryColumn, keyColumn } = this.#sequence!;
    const [q, k, v] = (['q', 'k', 'v'] as const).map((name) => b.reshape(project(name), [1, -1, hidden])) as [
      Value,
      Value,
      Value,
    ];
    const real = (y: Value) => b.slice(y, b.ints([0]), realTokens, 1);
    const attend = (query: Value, key: Value, value: Value) =>
      b.node('MultiHeadAttention', [query, key, value], {
        domain: MICROSOFT,
        attributes: { num_heads: heads, scale: { float: 1 / Math.sqrt(this.#headDim) } },
      });
    const widened = (y: Value, column: Value) => {
      const perHead = b.reshape(y, [1, -1, heads, this.#headDim]);
      return b.reshape(b.concat([perHead, column], 3), [1, -1, heads * (this.#headDim + 1)]);
    };
    const ofReal = attend(widened(real(q), queryColumn), widened(k, keyColumn), v);
    const ofPadding = attend(b.slice(q, realTokens, tokens, 1), real(k), real(v));
    return b.reshape(b.concat([ofReal, ofPadding], 1), [-1, hidden]);
  }

  featureTokens(x: Value): Value {
    return this.b.slice(x, this.b.ints([0]), this.#featureTokens, 0);
  }

  /**
   * A key of weight m gets ln(m) added to its logits. As one more channel (query 1, key ln(m)·√d) instead of a bias
   * `[queries, keys]`: that bias would be gigabytes, and the runtime's fast attention takes none.
   */
  #weigh(realTokens: Value, keyWeights: Value): Sequence {
    const { b } = this;
    const heads = this.vision.attentionHeads;
    const tokens = b.dimension(keyWeights, 0);
    const column = (values: Value, count: Value) =>
      b.node('Expand', [values, b.concat([b.ints([1]), count, b.ints([heads, 1])], 0)]);
    const logits = b.mul(b.node('Log', [keyWeights]), b.scalar(Math.sqrt(this.#headDim)));
    return {
      realTokens,
      tokens,
      queryColumn: column(b.scalar(1), realTokens),
      keyColumn: column(b.reshape(logits, [1, -1, 1, 1]), tokens),
    };
  }

  get #headDim(): number {
    return this.vision.hiddenSize / this.vision.attentionHeads;
  }
}
