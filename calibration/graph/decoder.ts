/**
 * Text decoder (spec §6–8). The embedding table stays outside: a row lookup needs no graph. K/V caches stay outside
 * too: past keys and values come in at full capacity and only the new rows go out.
 */
import type { ModelDescription, TextArchitecture } from './architecture.js';
import { groupedAttention, type SelfAttentionInputs, selfAttention } from './attention.js';
import { GraphBuilder, type Value } from './builder.js';
import { gatedMlp, Residual, rmsNorm } from './decoder-parts.js';
import { ELEMENT_TYPES } from './onnx.js';
import type { GraphOptions } from './options.js';
import { ropeTables } from './rope.js';
import { Weights } from './weights.js';

export interface DecoderOptions extends GraphOptions {
  /** false: the cross-attention layers are left out entirely, as for text without any image (§6). */
  readonly crossAttention: boolean;
}

/**
 * Inputs: `inputs_embeds [1,R,hidden]`, `seqlens_k` i32 [1] (valid length with the new rows, minus 1),
 * `total_sequence_length` i32 scalar (past + R), `past_key.{i}`, `past_value.{i}` `[1,kvHeads,capacity,headDim]` per
 * self layer i, `logits_rows` i64 [L]; with cross-attention also `cross_key.{i}`, `cross_value.{i}`
 * `[1,kvHeads,K,headDim]` per cross layer, `cross_attention_bias [1,1,R,K]` (0 or the lowest float),
 * `cross_attention_rows [1,R,1]` and `cross_mlp_rows [1,R,1]` (1, or 0 to drop a row's result: which of the two is
 * dropped for rows that see no image is what sets numerics `meta` and `hf-4.45` apart).
 * Outputs: `logits [L, vocabulary]`, `new_key.{i}`, `new_value.{i}` `[1,kvHeads,R,headDim]`.
 */
export function emitDecoder(model: ModelDescription, options: DecoderOptions): Uint8Array {
  return new Decoder(model, options).emit();
}

/**
 * One layer alone, for calibration with bounded memory: the residual stream goes in as `inputs_embeds` and comes out as
 * `hidden [R, hidden]`. The other inputs are those of `emitDecoder`, as far as the layer has a use for them. What each
 * of the layer's linears receives comes out as `input.{q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj}
 * [R, inputs]` (cross layers: no k_proj, v_proj).
 */
export function emitDecoderLayer(model: ModelDescription, options: GraphOptions, layer: number): Uint8Array {
  const crossAttention = model.architecture.text.crossAttentionLayers.includes(layer);
  return new Decoder(model, { ...options, crossAttention }).emitLayer(layer);
}

/** Indices of the self-attention layers among all layers. */
export function selfAttentionLayers(text: TextArchitecture): number[] {
  const cross = new Set(text.crossAttentionLayers);
  return Array.from({ length: text.layers }, (_, layer) => layer).filter((layer) => !cross.has(layer));
}

interface CrossInputs {
  /** `[1, 1, R, K]`. */
  readonly bias: Value;
  /** `[R, 1]`. */
  readonly attentionRows: Value;
  readonly mlpRows: Value;
}

class Decoder {
  readonly #b: GraphBuilder;
  readonly #w: Weights;
  readonly #text: TextArchitecture;
  readonly #options: DecoderOptions;
  readonly #linearInputs = new Map<string, Value>();

  constructor(model: ModelDescription, options: DecoderOptions) {
    this.#b = new GraphBuilder(options.crossAttention ? 'decoder' : 'decoder_text');
    this.#w = new Weights(model, options.weightsRoot, options.accuracyLevel, (name, x) =>
      this.#linearInputs.set(name.slice(name.lastIndexOf('.') + 1), x),
    );
    this.#text = model.architecture.text;
    this.#options = options;
  }

  emit(): Uint8Array {
    const b = this.#b;
    const { hiddenSize: hidden, rmsNormEps, vocabularySize, layers } = this.#text;
    const embeddings = b.input('inputs_embeds', 'float32', [1, 'R', hidden]);
    const selfAttention = this.#selfAttentionInputs(embeddings);
    const cross = this.#options.crossAttention ? this.#crossInputs() : undefined;
    const logitsRows = b.input('logits_rows', 'int64', ['L']);

    const residual = new Residual(b, this.#w, rmsNormEps, b.reshape(embeddings, [-1, hidden]));
    const crossLayers = new Set(this.#text.crossAttentionLayers);
    for (let layer = 0; layer < layers; layer++) {
      const prefix = `language_model.model.layers.${layer}`;
      b.within(prefix, () => {
        if (!crossLayers.has(layer)) this.#selfLayer(residual, selfAttention, layer, prefix);
        else if (cross !== undefined) this.#crossLayer(residual, cross, layer, prefix);
        else return;
        this.#trace(() => residual.value(), `after_layer_${layer}`);
      });
    }
    const normed = residual.norm('language_model.model.norm.weight');
    this.#trace(() => normed, 'after_final_norm');
    const logits = this.#w.linear(b, b.gather(normed, logitsRows), 'language_model.lm_head');
    b.output(logits, 'logits', 'float32', ['L', vocabularySize]);
    return b.encode();
  }

  emitLayer(layer: number): Uint8Array {
    const b = this.#b;
    const { hiddenSize: hidden, rmsNormEps } = this.#text;
    const embeddings = b.input('inputs_embeds', 'float32', [1, 'R', hidden]);
    const residual = new Residual(b, this.#w, rmsNormEps, b.reshape(embeddings, [-1, hidden]));
    const prefix = `language_model.model.layers.${layer}`;
    b.within(prefix, () => {
      if (this.#options.crossAttention) this.#crossLayer(residual, this.#crossInputs(), layer, prefix);
      else this.#selfLayer(residual, this.#selfAttentionInputs(embeddings), layer, prefix);
    });
    b.output(residual.value(), 'hidden', 'float32', ['R', hidden]);
    for (const [name, x] of this.#linearInputs) b.output(x, `input.${name}`, 'float32', ['R', 'inputs']);
    return b.encode();
  }

  #selfAttentionInputs(embeddings: Value): SelfAttentionInputs {
    const b = this.#b;
    const seqlens = b.input('seqlens_k', 'int32', [1]);
    const total = b.input('total_sequence_length', 'int32', []);
    const end = b.reshape(b.node('Cast', [total], { attributes: { to: ELEMENT_TYPES.int64 } }), [1]);
    const start = b.node('Sub', [end, b.dimension(embeddings, 1)]);

    const tables = ropeTables(this.#text, this.#options.contextLength);
    const [cos, sin] = (['cos', 'sin'] as const).map((name) => {
      const bytes = new Uint8Array(tables[name].buffer);
      const shape = [this.#options.contextLength, this.#text.headDim / 2];
      return b.initializer(`rope_${name}`, 'float32', shape, { kind: 'inline', bytes });
    }) as [Value, Value];
    return { seqlens, total, start, end, cos, sin };
  }

  #crossInputs(): CrossInputs {
    const b = this.#b;
    const bias = b.input('cross_attention_bias', 'float32', [1, 1, 'R', 'K']);
    const rowGate = (name: string) => b.reshape(b.input(name, 'float32', [1, 'R', 1]), [-1, 1]);
    return { bias, attentionRows: rowGate('cross_attention_rows'), mlpRows: rowGate('cross_mlp_rows') };
  }

  #selfLayer(residual: Residual, shared: SelfAttentionInputs, layer: number, prefix: string): void {
    const b = this.#b;
    const { keyValueHeads, headDim } = this.#text;
    const x = residual.norm(`${prefix}.input_layernorm.weight`);
    const projected = (name: string) => this.#w.linear(b, x, `${prefix}.self_attn.${name}_proj`);
    const cache = [1, keyValueHeads, 'capacity', headDim];
    const { attended, newKey, newValue } = selfAttention(b, this.#text, shared, {
      query: projected('q'),
      key: projected('k'),
      value: projected('v'),
      pastKey: b.input(`past_key.${layer}`, 'float32', cache),
      pastValue: b.input(`past_value.${layer}`, 'float32', cache),
    });
    const added = [1, keyValueHeads, 'R', headDim];
    b.output(newKey, `new_key.${layer}`, 'float32', added);
    b.output(newValue, `new_value.${layer}`, 'float32', added);
    residual.add(this.#w.linear(b, attended, `${prefix}.self_attn.o_proj`));
    residual.add(gatedMlp(b, this.#w, residual.norm(`${prefix}.post_attention_layernorm.weight`), `${prefix}.mlp`));
  }

  /** §8: queries with their own norm and no rotation; results of the two halves gated per layer and per row. */
  #crossLayer(residual: Residual, cross: CrossInputs, layer: number, prefix: string): void {
    const b = this.#b;
    const { attentionHeads, headDim, rmsNormEps } = this.#text;
    const x = residual.norm(`${prefix}.input_layernorm.weight`);
    const query = b.reshape(this.#w.linear(b, x, `${prefix}.cross_attn.q_proj`), [-1, attentionHeads, headDim]);
    const normed = rmsNorm(b, this.#w, query, `${prefix}.cross_attn.q_norm.weight`, rmsNormEps);
    const attended = this.#w.linear(b, this.#attendImages(normed, cross.bias, layer), `${prefix}.cross_attn.o_proj`);
    const gated = (y: Value, gate: string, rows: Value) => b.mul(b.mul(y, this.#w.gate(b, `${prefix}.${gate}`)), rows);
    residual.add(gated(attended, 'cross_attn_attn_gate', cross.attentionRows));
    const mlp = gatedMlp(b, this.#w, residual.norm(`${prefix}.post_attention_layernorm.weight`), `${prefix}.mlp`);
    residual.add(gated(mlp, 'cross_attn_mlp_gate', cross.mlpRows));
  }

  /** `query [R, heads, headDim]` → `[R, heads·headDim]`. */
  #attendImages(query: Value, bias: Value, layer: number): Value {
    const b = this.#b;
    const { keyValueHeads, headDim } = this.#text;
    const cached = (name: string) => {
      const input = b.input(`${name}.${layer}`, 'float32', [1, keyValueHeads, 'K', headDim]);
      return b.reshape(input, [keyValueHeads, -1, headDim]);
    };
    return groupedAttention(b, this.#text, query, cached('cross_key'), cached('cross_value'), bias);
  }

  #trace(value: () => Value, name: string): void {
    if (this.#options.instrument) this.#b.output(value(), name, 'float32', ['R', this.#text.hiddenSize]);
  }
}
