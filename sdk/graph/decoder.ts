/**
 * Text decoder. The embedding table stays outside: a row lookup needs no graph. K/V caches stay outside
 * too: past keys and values come in at full capacity and only the new tokens go out.
 */
import type { ModelDescription, TextArchitecture } from '../architecture/architecture.js';
import { biasedAttention, type SelfAttentionInputs, selfAttention } from './attention.js';
import { GraphBuilder, MICROSOFT, type Value } from './builder.js';
import {
  type CrossTokenGates,
  crossLayer,
  type DecoderLowering,
  decoderLayers,
  layerPrefix,
  type SelfAttentionProjections,
  selfLayer,
} from './decoder-layers.js';
import { Residual, rmsNorm } from './decoder-parts.js';
import { ELEMENT_TYPES } from './onnx.js';
import type { GraphOptions } from './options.js';
import { ropeInitializers } from './rope.js';
import { Weights } from './weights.js';

export interface DecoderOptions extends GraphOptions {
  /** false: the cross-attention layers are left out entirely, as for text without any image. */
  readonly crossAttention: boolean;
}

/**
 * Inputs: `inputs_embeds [1,R,hidden]`, `seqlens_k` i32 [1] (valid length with the new tokens, minus 1),
 * `total_sequence_length` i32 scalar (past + R), `past_key.{i}`, `past_value.{i}` `[1,kvHeads,capacity,headDim]` per
 * self layer i, `logits_rows` i64 [L]; with cross-attention also `cross_key.{i}`, `cross_value.{i}`
 * `[1,kvHeads,K,headDim]` per cross layer, `cross_attention_bias [1,1,R,K]` (0 or the lowest float),
 * `cross_attention_rows [1,R,1]` and `cross_mlp_rows [1,R,1]` (1, or 0 to drop a token's result: which of the two is
 * dropped for tokens that see no image is what sets numerics `meta` and `hf-4.45` apart).
 * Outputs: `logits [L, vocabulary]`, `new_key.{i}`, `new_value.{i}` `[1,kvHeads,R,headDim]`; with cross-attention also
 * `cross_query.{i} [R,heads,headDim]` per cross layer, normalised, not scaled: costs a copy when it is fetched, else nothing.
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

/** The decoder in float32, with the fused operators of ONNX Runtime. */
class Decoder implements DecoderLowering {
  readonly b: GraphBuilder;
  readonly text: TextArchitecture;
  readonly #w: Weights;
  readonly #options: DecoderOptions;
  readonly #linearInputs = new Map<string, Value>();
  #self: SelfAttentionInputs | undefined;
  /** `[1, 1, R, K]`. */
  #bias: Value | undefined;
  #isWhole = false;

  constructor(model: ModelDescription, options: DecoderOptions) {
    this.b = new GraphBuilder(options.crossAttention ? 'decoder' : 'decoder_text');
    this.#w = new Weights(model, options.weightsRoot, options.accuracyLevel, (name, x) =>
      this.#linearInputs.set(name.slice(name.lastIndexOf('.') + 1), x),
    );
    this.text = model.architecture.text;
    this.#options = options;
  }

  emit(): Uint8Array {
    const { b } = this;
    this.#isWhole = true;
    const { hiddenSize: hidden, rmsNormEps, vocabularySize } = this.text;
    const embeddings = b.input('inputs_embeds', 'float32', [1, 'R', hidden]);
    this.#self = this.#selfAttentionInputs(embeddings);
    const cross = this.#options.crossAttention ? this.#crossInputs() : undefined;
    const logitsRows = b.input('logits_rows', 'int64', ['L']);

    const residual = new Residual(b, this.#w, rmsNormEps, b.reshape(embeddings, [-1, hidden]));
    const normed = decoderLayers(this, residual, cross, (layer) =>
      this.#trace(() => residual.value(), `after_layer_${layer}`),
    );
    this.#trace(() => normed, 'after_final_norm');
    const logits = this.linear(b.gather(normed, logitsRows), 'language_model.lm_head');
    b.output(logits, 'logits', 'float32', ['L', vocabularySize]);
    return b.encode();
  }

  emitLayer(layer: number): Uint8Array {
    const { b } = this;
    const { hiddenSize: hidden, rmsNormEps } = this.text;
    const embeddings = b.input('inputs_embeds', 'float32', [1, 'R', hidden]);
    const residual = new Residual(b, this.#w, rmsNormEps, b.reshape(embeddings, [-1, hidden]));
    b.within(layerPrefix(layer), () => {
      if (this.#options.crossAttention) {
        crossLayer(this, residual, layer, this.#crossInputs());
      } else {
        this.#self = this.#selfAttentionInputs(embeddings);
        selfLayer(this, residual, layer);
      }
    });
    b.output(residual.value(), 'hidden', 'float32', ['R', hidden]);
    for (const [name, x] of this.#linearInputs) b.output(x, `input.${name}`, 'float32', ['R', 'inputs']);
    return b.encode();
  }

  linear(x: Value, name: string): Value {
    return this.#w.linear(this.b, x, name);
  }

  rmsNorm(x: Value, weight: string): Value {
    return rmsNorm(this.b, this.#w, x, weight, this.text.rmsNormEps);
  }

  silu(x: Value): Value {
    // QuickGelu with alpha 1 is SiLU: x · sigmoid(x).
    return this.b.node('QuickGelu', [x], { domain: MICROSOFT, attributes: { alpha: { float: 1 } } });
  }

  product(a: Value, b: Value): Value {
    return this.b.mul(a, b);
  }

  gated(y: Value, gate: string, tokenGate: Value): Value {
    return this.b.mul(this.b.mul(y, this.#w.gate(this.b, gate)), tokenGate);
  }

  selfAttention(layer: number, projections: SelfAttentionProjections): Value {
    const { b } = this;
    const { keyValueHeads, headDim } = this.text;
    const cache = [1, keyValueHeads, 'capacity', headDim];
    const { attended, newKey, newValue } = selfAttention(b, this.text, this.#self!, {
      ...projections,
      pastKey: b.input(`past_key.${layer}`, 'float32', cache),
      pastValue: b.input(`past_value.${layer}`, 'float32', cache),
    });
    const added = [1, keyValueHeads, 'R', headDim];
    b.output(newKey, `new_key.${layer}`, 'float32', added);
    b.output(newValue, `new_value.${layer}`, 'float32', added);
    return attended;
  }

  crossAttention(layer: number, query: Value): Value {
    const { b } = this;
    const { keyValueHeads, headDim } = this.text;
    const cached = (name: string) => {
      const input = b.input(`${name}.${layer}`, 'float32', [1, keyValueHeads, 'K', headDim]);
      return b.reshape(input, [keyValueHeads, -1, headDim]);
    };
    return biasedAttention(b, this.text, query, cached('cross_key'), cached('cross_value'), this.#bias!);
  }

  tapCrossQuery(layer: number, query: Value): void {
    if (!this.#isWhole) return;
    const { attentionHeads, headDim } = this.text;
    this.b.output(query, `cross_query.${layer}`, 'float32', ['R', attentionHeads, headDim]);
  }

  #selfAttentionInputs(embeddings: Value): SelfAttentionInputs {
    const { b } = this;
    const seqlens = b.input('seqlens_k', 'int32', [1]);
    const total = b.input('total_sequence_length', 'int32', []);
    const end = b.reshape(b.node('Cast', [total], { attributes: { to: ELEMENT_TYPES.int64 } }), [1]);
    const start = b.node('Sub', [end, b.dimension(embeddings, 1)]);
    const { cos, sin } = ropeInitializers(b, this.text, this.#options.contextLength);
    return { seqlens, total, start, end, cos, sin };
  }

  #crossInputs(): CrossTokenGates {
    const { b } = this;
    this.#bias = b.input('cross_attention_bias', 'float32', [1, 1, 'R', 'K']);
    const tokenGate = (name: string) => b.reshape(b.input(name, 'float32', [1, 'R', 1]), [-1, 1]);
    return { attention: tokenGate('cross_attention_rows'), mlp: tokenGate('cross_mlp_rows') };
  }

  #trace(value: () => Value, name: string): void {
    if (this.#options.instrument) this.b.output(value(), name, 'float32', ['R', this.text.hiddenSize]);
  }
}
