/**
 * Vision tower and projector (spec §5): pixels of one image to the rows that cross-attention looks at.
 *
 * The reference masks attention between two tokens only when both are padding (§5.5). Instead of a `[N, N]` mask the
 * rows are brought into the order *real tokens, then padding*: real queries take all keys, padding queries take the
 * real keys, both without a mask. That is the same sum, and leaves the fast attention path open.
 */
import type { ModelDescription, VisionArchitecture } from './architecture.js';
import { GraphBuilder, MICROSOFT, type Value } from './builder.js';
import type { GraphOptions } from './options.js';
import { Weights } from './weights.js';

const PREFIX = 'vision_model';
/** Patches of a tile are padded to a multiple of this. */
const ROW_MULTIPLE = 8;

export interface VisionGeometry {
  /** Tokens of one tile: class token and patches. */
  readonly tokensPerTile: number;
  /** The same with padding rows. Never equal: a square plus one is 1, 2 or 5 modulo 8. */
  readonly paddedTokensPerTile: number;
}

export function visionGeometry(vision: VisionArchitecture): VisionGeometry {
  const side = Math.floor(vision.tileSize / vision.patchSize);
  const tokensPerTile = side * side + 1;
  return { tokensPerTile, paddedTokensPerTile: Math.ceil(tokensPerTile / ROW_MULTIPLE) * ROW_MULTIPLE };
}

/** Model `pixel_values [T,3,S,S], aspect_ratio_id [1], num_tiles [1]` → `cross_attention_states [T·P, textHidden]`. */
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
  readonly #rows: number;

  constructor(model: ModelDescription, options: GraphOptions) {
    this.#w = new Weights(model, options.weightsRoot, options.accuracyLevel);
    this.#vision = model.architecture.vision;
    this.#textHidden = model.architecture.text.hiddenSize;
    this.#options = options;
    const { tokensPerTile, paddedTokensPerTile } = visionGeometry(this.#vision);
    this.#tokens = tokensPerTile;
    this.#padded = paddedTokensPerTile;
    this.#rows = this.#vision.maxNumTiles * paddedTokensPerTile;
  }

  emit(): Uint8Array {
    const b = this.#b;
    const { tileSize, maxNumTiles: tiles, hiddenSize: hidden, normEps } = this.#vision;
    const pixels = b.input('pixel_values', 'float32', [tiles, 3, tileSize, tileSize]);
    const aspectRatioId = b.input('aspect_ratio_id', 'int64', [1]);
    const numTiles = b.input('num_tiles', 'int64', [1]);

    const orders = rowOrders(tiles, this.#tokens, this.#padded);
    const order = this.#rowTable('real_first_order', orders.realFirst, this.#rows, numTiles);
    const restore = this.#rowTable('original_order', orders.original, this.#rows, numTiles);
    const realRows = b.mul(numTiles, b.ints([this.#tokens]));
    const restored = (x: Value) => b.gather(x, restore);

    let x = this.#embed(pixels, aspectRatioId);
    x = b.node('Concat', [x, zeros(b, [tiles, this.#padded - this.#tokens, hidden])], { attributes: { axis: 1 } });
    x = b.gather(b.reshape(x, [this.#rows, hidden]), order);

    /** States between the local layers: the input of each, and the output of the last. */
    const between = [x];
    for (let layer = 0; layer < this.#vision.localLayers; layer++) {
      x = this.#block(x, realRows, `${PREFIX}.transformer.layers.${layer}`, false);
      between.push(x);
      this.#trace(() => restored(x), `after_local_layer_${layer}`, [1, this.#rows, hidden]);
    }
    const shift = this.#options.taps === 'inputs' ? 0 : 1;
    const taps = this.#vision.intermediateLayersIndices.map((layer) => between[layer + shift]!);

    x = layerNorm(b, this.#w, x, `${PREFIX}.layernorm_post`, normEps);
    x = b.add(x, b.gather(this.#tileEmbeddingRows('post_tile_positional_embedding', aspectRatioId), order));
    this.#trace(() => restored(x), 'after_post_tile_embedding', [1, tiles, this.#padded, hidden]);

    for (let layer = 0; layer < this.#vision.globalLayers; layer++) {
      x = this.#block(x, realRows, `${PREFIX}.global_transformer.layers.${layer}`, true);
      this.#trace(() => restored(x), `after_global_layer_${layer}`, [1, this.#rows, hidden]);
    }

    const features = this.#features(x, taps, numTiles, orders.features);
    this.#trace(() => features, 'last_hidden_state', [1, 1, tiles, this.#tokens, this.#vision.outputDim]);
    const states = this.#w.linear(b, features, 'multi_modal_projector', true);
    b.output(states, 'cross_attention_states', 'float32', [tiles * this.#tokens, this.#textHidden]);
    return b.encode();
  }

  /** Patches, tile and position embeddings, class token, first norm (§5.1–5.4): `[T, P, hidden]`. */
  #embed(pixels: Value, aspectRatioId: Value): Value {
    const b = this.#b;
    const { maxNumTiles: tiles, hiddenSize: hidden, patchSize, normEps } = this.#vision;
    const kernel = [patchSize, patchSize];
    const convolved = b.node('Conv', [pixels, this.#w.float(b, `${PREFIX}.patch_embedding.weight`)], {
      attributes: { kernel_shape: kernel, strides: kernel },
    });
    let x = b.transpose(b.reshape(convolved, [tiles, hidden, this.#tokens - 1]), [0, 2, 1]);
    x = b.add(x, this.#tileEmbedding('pre_tile_positional_embedding', aspectRatioId));

    const classToken = this.#w.float(b, `${PREFIX}.class_embedding`);
    x = b.concat([b.node('Expand', [classToken, b.ints([tiles, 1, hidden])]), x], 1);

    const positions = `${PREFIX}.gated_positional_embedding`;
    const gate = this.#w.gate(b, `${positions}.gate`);
    const position = b.mul(this.#w.float(b, `${positions}.embedding`), b.node('Sub', [b.scalar(1), gate]));
    x = b.add(x, position);
    const tilePositions = this.#w.row(b, `${positions}.tile_embedding.weight`, aspectRatioId);
    x = b.add(x, b.mul(b.reshape(tilePositions, [tiles, this.#tokens, hidden]), gate));
    x = layerNorm(b, this.#w, x, `${PREFIX}.layernorm_pre`, normEps);
    this.#trace(() => x, 'after_layernorm_pre', [1, tiles, this.#tokens, hidden]);
    return x;
  }

  /** tanh(gate) × the tile vectors of the arrangement: `[T, 1, hidden]`. */
  #tileEmbedding(name: string, aspectRatioId: Value): Value {
    const b = this.#b;
    const row = this.#w.row(b, `${PREFIX}.${name}.embedding.weight`, aspectRatioId);
    const vectors = b.reshape(row, [this.#vision.maxNumTiles, 1, this.#vision.hiddenSize]);
    return b.mul(vectors, this.#w.gate(b, `${PREFIX}.${name}.gate`));
  }

  /** The same for every row of a tile, padding rows too: `[T·P', hidden]`. */
  #tileEmbeddingRows(name: string, aspectRatioId: Value): Value {
    const b = this.#b;
    const { maxNumTiles: tiles, hiddenSize: hidden } = this.#vision;
    const shape = b.ints([tiles, this.#padded, hidden]);
    const rows = b.node('Expand', [this.#tileEmbedding(name, aspectRatioId), shape]);
    return b.reshape(rows, [this.#rows, hidden]);
  }

  /** One pre-norm layer (§5.6), with gates in the global stack (§5.8). Rows: real tokens first. */
  #block(x: Value, realRows: Value, prefix: string, gated: boolean): Value {
    const b = this.#b;
    const { normEps } = this.#vision;
    return b.within(prefix, () => {
      let attention = this.#attention(layerNorm(b, this.#w, x, `${prefix}.input_layernorm`, normEps), realRows, prefix);
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

  #attention(x: Value, realRows: Value, prefix: string): Value {
    const b = this.#b;
    const [q, k, v] = ['q', 'k', 'v'].map((name) =>
      b.reshape(this.#w.linear(b, x, `${prefix}.self_attn.${name}_proj`), [1, -1, this.#vision.hiddenSize]),
    ) as [Value, Value, Value];
    const start = b.ints([0]);
    const end = b.ints([this.#rows]);
    const real = (y: Value) => b.slice(y, start, realRows, 1);
    const attend = (query: Value, key: Value, value: Value) =>
      b.node('MultiHeadAttention', [query, key, value], {
        domain: MICROSOFT,
        attributes: { num_heads: this.#vision.attentionHeads },
      });
    const ofReal = attend(real(q), k, v);
    const ofPadding = attend(b.slice(q, realRows, end, 1), real(k), real(v));
    const joined = b.reshape(b.concat([ofReal, ofPadding], 1), [this.#rows, this.#vision.hiddenSize]);
    return this.#w.linear(b, joined, `${prefix}.self_attn.o_proj`);
  }

  /** Padding rows dropped, original order restored, taps interleaved channel by channel (§5.9): `[T·P, outputDim]`. */
  #features(x: Value, taps: readonly Value[], numTiles: Value, table: readonly number[]): Value {
    const b = this.#b;
    const hidden = this.#vision.hiddenSize;
    const featureRows = this.#vision.maxNumTiles * this.#tokens;
    const rows = this.#rowTable('feature_rows', table, featureRows, numTiles);
    const final = b.gather(x, rows);
    if (taps.length === 0) return final;
    const stacked = taps.map((tap) => b.reshape(b.gather(tap, rows), [featureRows, hidden, 1]));
    return b.concat([final, b.reshape(b.concat(stacked, 2), [featureRows, hidden * taps.length])], 1);
  }

  /** Row `num_tiles` of a constant table `[T + 1, columns]`: `[columns]`. */
  #rowTable(name: string, table: readonly number[], columns: number, numTiles: Value): Value {
    const b = this.#b;
    const bytes = new Uint8Array(BigInt64Array.from(table, BigInt).buffer);
    const shape = [this.#vision.maxNumTiles + 1, columns];
    return b.reshape(b.gather(b.initializer(name, 'int64', shape, { kind: 'inline', bytes }), numTiles), [columns]);
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

interface RowOrders {
  /** Position → row: real tokens first. `[T + 1, T·P']`, one line per number of used tiles. */
  readonly realFirst: number[];
  /** Row → position, the inverse. */
  readonly original: number[];
  /** Feature row (tile, token) → position. `[T + 1, T·P]`. */
  readonly features: number[];
}

/** @internal Exported for its test. */
export function rowOrders(tiles: number, tokens: number, padded: number): RowOrders {
  const orders: RowOrders = { realFirst: [], original: [], features: [] };
  const rows = Array.from({ length: tiles * padded }, (_, row) => row);
  for (let numTiles = 0; numTiles <= tiles; numTiles++) {
    const isReal = (row: number) => Math.floor(row / padded) < numTiles && row % padded < tokens;
    const order = [...rows.filter(isReal), ...rows.filter((row) => !isReal(row))];
    const inverse = new Array<number>(order.length);
    order.forEach((row, position) => {
      inverse[row] = position;
    });
    for (const row of order) orders.realFirst.push(row);
    for (const position of inverse) orders.original.push(position);
    for (const row of rows) if (row % padded < tokens) orders.features.push(inverse[row]!);
  }
  return orders;
}
