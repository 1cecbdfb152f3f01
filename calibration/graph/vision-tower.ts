/**
 * Vision tower and projector (spec §5): pixels of one image to the rows that cross-attention looks at.
 *
 * The reference masks attention between two tokens only when both are padding (§5.5). Instead of a `[N, N]` mask the
 * rows are brought into the order *real tokens, then padding*: real queries take all keys, padding queries take the
 * real keys, both without a mask. That is the same sum, and leaves the fast attention path open.
 *
 * Which rows there are is said at run time (`visionRows`): one graph, and one copy of the weights, for any number of
 * tiles, in full or with copies merged.
 */
import type { ModelDescription, VisionArchitecture } from './architecture.js';
import { GraphBuilder, MICROSOFT, type Value } from './builder.js';
import type { GraphOptions } from './options.js';
import { visionGeometry } from './vision-rows.js';
import { Weights } from './weights.js';

const PREFIX = 'vision_model';

/** What all layers share. */
interface Sequence {
  /** int64 `[1]`: rows of used slots, the first ones. */
  readonly realRows: Value;
  /** int64 `[1]`. */
  readonly rows: Value;
  /** `[1, realRows, heads, 1]` and `[1, rows, heads, 1]`: their products are what weights add to attention logits. */
  readonly queryColumn: Value;
  readonly keyColumn: Value;
}

/**
 * Model `pixel_values [slots,3,S,S], aspect_ratio_id [1]` and, as `visionRows` gives them, `row_tokens [R],
 * row_slots [R], key_weights [R], real_rows [1], feature_rows [1], state_rows [K]` → `cross_attention_states
 * [K, textHidden]`. Instrumented: also `full_sequence [T·P']`, and states of all slots are expected.
 */
export function emitVisionTower(model: ModelDescription, options: GraphOptions): Uint8Array {
  return new VisionTower(model, options).emit();
}

class VisionTower {
  readonly #b = new GraphBuilder('vision');
  readonly #w: Weights;
  readonly #vision: VisionArchitecture;
  readonly #textHidden: number;
  readonly #options: GraphOptions;
  readonly #tokens: number;
  readonly #padded: number;

  constructor(model: ModelDescription, options: GraphOptions) {
    this.#w = new Weights(model, options.weightsRoot, options.accuracyLevel);
    this.#vision = model.architecture.vision;
    this.#textHidden = model.architecture.text.hiddenSize;
    this.#options = options;
    const { tokensPerTile, paddedTokensPerTile } = visionGeometry(this.#vision);
    this.#tokens = tokensPerTile;
    this.#padded = paddedTokensPerTile;
  }

  emit(): Uint8Array {
    const b = this.#b;
    const { tileSize, maxNumTiles: tiles, hiddenSize: hidden, normEps } = this.#vision;
    const pixels = b.input('pixel_values', 'float32', ['slots', 3, tileSize, tileSize]);
    const aspectRatioId = b.input('aspect_ratio_id', 'int64', [1]);
    const rowTokens = b.input('row_tokens', 'int64', ['R']);
    const rowSlots = b.input('row_slots', 'int64', ['R']);
    const keyWeights = b.input('key_weights', 'float32', ['R']);
    const realRows = b.input('real_rows', 'int64', [1]);
    const featureRows = b.input('feature_rows', 'int64', [1]);
    const stateRows = b.input('state_rows', 'int64', ['K']);

    const allRows = tiles * this.#padded;
    const full = this.#options.instrument ? b.input('full_sequence', 'int64', [allRows]) : '';
    const inFull = (x: Value) => b.gather(x, full);
    const sequence = this.#sequence(realRows, keyWeights);

    const embedded = b.reshape(this.#embed(pixels, aspectRatioId), [-1, hidden]);
    let x = b.gather(b.concat([embedded, zeros(b, [1, hidden])], 0), rowTokens);
    this.#trace(() => b.gather(x, stateRows), 'after_layernorm_pre', [1, tiles, this.#tokens, hidden]);

    /** States between the local layers: the input of each, and the output of the last. */
    const between = [x];
    for (let layer = 0; layer < this.#vision.localLayers; layer++) {
      x = this.#block(x, sequence, `${PREFIX}.transformer.layers.${layer}`, false);
      between.push(x);
      this.#trace(() => inFull(x), `after_local_layer_${layer}`, [1, allRows, hidden]);
    }
    const shift = this.#options.taps === 'inputs' ? 0 : 1;
    const taps = this.#vision.intermediateLayersIndices.map((layer) => between[layer + shift]!);

    x = layerNorm(b, this.#w, x, `${PREFIX}.layernorm_post`, normEps);
    const tileVectors = b.reshape(this.#tileEmbedding('post_tile_positional_embedding', aspectRatioId), [-1, hidden]);
    x = b.add(x, b.gather(tileVectors, rowSlots));
    this.#trace(() => inFull(x), 'after_post_tile_embedding', [1, tiles, this.#padded, hidden]);

    for (let layer = 0; layer < this.#vision.globalLayers; layer++) {
      x = this.#block(x, sequence, `${PREFIX}.global_transformer.layers.${layer}`, true);
      this.#trace(() => inFull(x), `after_global_layer_${layer}`, [1, allRows, hidden]);
    }

    const features = this.#features(x, taps, featureRows);
    const hiddenShape = [1, 1, tiles, this.#tokens, this.#vision.outputDim];
    this.#trace(() => b.gather(features, stateRows), 'last_hidden_state', hiddenShape);
    const states = b.gather(this.#w.linear(b, features, 'multi_modal_projector', true), stateRows);
    b.output(states, 'cross_attention_states', 'float32', ['K', this.#textHidden]);
    return b.encode();
  }

  /**
   * A key of weight m gets ln(m) added to its logits. As one more channel (query 1, key ln(m)·√d) instead of a bias
   * `[queries, keys]`: that bias would be gigabytes, and the runtime's fast attention takes none.
   */
  #sequence(realRows: Value, keyWeights: Value): Sequence {
    const b = this.#b;
    const heads = this.#vision.attentionHeads;
    const rows = b.dimension(keyWeights, 0);
    const column = (values: Value, count: Value) =>
      b.node('Expand', [values, b.concat([b.ints([1]), count, b.ints([heads, 1])], 0)]);
    const logits = b.mul(b.node('Log', [keyWeights]), b.scalar(Math.sqrt(this.#headDim)));
    return {
      realRows,
      rows,
      queryColumn: column(b.scalar(1), realRows),
      keyColumn: column(b.reshape(logits, [1, -1, 1, 1]), rows),
    };
  }

  get #headDim(): number {
    return this.#vision.hiddenSize / this.#vision.attentionHeads;
  }

  /** Patches, tile and position embeddings, class token, first norm (§5.1–5.4): `[slots, P, hidden]`. */
  #embed(pixels: Value, aspectRatioId: Value): Value {
    const b = this.#b;
    const { maxNumTiles: tiles, hiddenSize: hidden, patchSize, normEps } = this.#vision;
    const slots = b.dimension(pixels, 0);
    const ofSlots = (perTile: Value) => b.slice(perTile, b.ints([0]), slots, 0);
    const kernel = [patchSize, patchSize];
    const convolved = b.node('Conv', [pixels, this.#w.float(b, `${PREFIX}.patch_embedding.weight`)], {
      attributes: { kernel_shape: kernel, strides: kernel },
    });
    let x = b.transpose(b.reshape(convolved, [0, hidden, this.#tokens - 1]), [0, 2, 1]);
    x = b.add(x, ofSlots(this.#tileEmbedding('pre_tile_positional_embedding', aspectRatioId)));

    const classToken = this.#w.float(b, `${PREFIX}.class_embedding`);
    const classTokens = b.node('Expand', [classToken, b.concat([slots, b.ints([1, hidden])], 0)]);
    x = b.concat([classTokens, x], 1);

    const positions = `${PREFIX}.gated_positional_embedding`;
    const gate = this.#w.gate(b, `${positions}.gate`);
    const position = b.mul(this.#w.float(b, `${positions}.embedding`), b.node('Sub', [b.scalar(1), gate]));
    x = b.add(x, position);
    const tilePositions = this.#w.row(b, `${positions}.tile_embedding.weight`, aspectRatioId);
    x = b.add(x, b.mul(ofSlots(b.reshape(tilePositions, [tiles, this.#tokens, hidden])), gate));
    return layerNorm(b, this.#w, x, `${PREFIX}.layernorm_pre`, normEps);
  }

  /** tanh(gate) × the tile vectors of the arrangement: `[T, 1, hidden]`. */
  #tileEmbedding(name: string, aspectRatioId: Value): Value {
    const b = this.#b;
    const row = this.#w.row(b, `${PREFIX}.${name}.embedding.weight`, aspectRatioId);
    const vectors = b.reshape(row, [this.#vision.maxNumTiles, 1, this.#vision.hiddenSize]);
    return b.mul(vectors, this.#w.gate(b, `${PREFIX}.${name}.gate`));
  }

  /** One pre-norm layer (§5.6), with gates in the global stack (§5.8). Rows: real tokens first. */
  #block(x: Value, sequence: Sequence, prefix: string, gated: boolean): Value {
    const b = this.#b;
    const { normEps } = this.#vision;
    return b.within(prefix, () => {
      let attention = this.#attention(layerNorm(b, this.#w, x, `${prefix}.input_layernorm`, normEps), sequence, prefix);
      if (gated) attention = b.mul(attention, this.#w.gate(b, `${prefix}.gate_attn`));
      const h = b.add(x, attention);

      const normed = layerNorm(b, this.#w, h, `${prefix}.post_attention_layernorm`, normEps);
      const inner = b.node('Gelu', [this.#w.linear(b, normed, `${prefix}.mlp.fc1`, true)], {
        attributes: { approximate: 'none' },
      });
      let mlp = this.#w.linear(b, inner, `${prefix}.mlp.fc2`, true);
      if (gated) mlp = b.mul(mlp, this.#w.gate(b, `${prefix}.gate_ffn`));
      return b.add(h, mlp);
    });
  }

  #attention(x: Value, { realRows, rows, queryColumn, keyColumn }: Sequence, prefix: string): Value {
    const b = this.#b;
    const { hiddenSize: hidden, attentionHeads: heads } = this.#vision;
    const [q, k, v] = ['q', 'k', 'v'].map((name) =>
      b.reshape(this.#w.linear(b, x, `${prefix}.self_attn.${name}_proj`), [1, -1, hidden]),
    ) as [Value, Value, Value];
    const real = (y: Value) => b.slice(y, b.ints([0]), realRows, 1);
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
    const ofPadding = attend(b.slice(q, realRows, rows, 1), real(k), real(v));
    const joined = b.reshape(b.concat([ofReal, ofPadding], 1), [-1, hidden]);
    return this.#w.linear(b, joined, `${prefix}.self_attn.o_proj`);
  }

  /** The first rows, taps interleaved channel by channel (§5.9): `[featureRows, outputDim]`. */
  #features(x: Value, taps: readonly Value[], featureRows: Value): Value {
    const b = this.#b;
    const hidden = this.#vision.hiddenSize;
    const first = (y: Value) => b.slice(y, b.ints([0]), featureRows, 0);
    const final = first(x);
    if (taps.length === 0) return final;
    const stacked = taps.map((tap) => b.reshape(first(tap), [-1, hidden, 1]));
    return b.concat([final, b.reshape(b.concat(stacked, 2), [-1, hidden * taps.length])], 1);
  }

  #trace(value: () => Value, name: string, shape: readonly number[]): void {
    if (!this.#options.instrument) return;
    this.#b.output(this.#b.reshape(value(), shape), name, 'float32', shape);
  }
}

function layerNorm(b: GraphBuilder, w: Weights, x: Value, name: string, epsilon: number): Value {
  return b.node('LayerNormalization', [x, w.float(b, `${name}.weight`), w.float(b, `${name}.bias`)], {
    attributes: { axis: -1, epsilon: { float: epsilon } },
  });
}

function zeros(b: GraphBuilder, shape: readonly number[]): Value {
  return b.node('Expand', [b.scalar(0), b.ints(shape)]);
}
