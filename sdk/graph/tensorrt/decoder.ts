/** Text decoder, and the keys and values of cross-attention, for TensorRT. */
import type { ModelDescription, TextArchitecture } from '../../architecture/architecture.js';
import type { Value } from '../builder.js';
import {
  type CrossTokenGates,
  crossKeyValue,
  type DecoderLowering,
  decoderLayers,
  type ResidualStream,
  type SelfAttentionProjections,
} from '../decoder-layers.js';
import { ropeInitializers } from '../rope.js';
import { CROSS_ATTENTION, crossAttention, headAttributes, KV_ATTENTION, kvAttention } from './functions.js';
import { Lowering } from './lowering.js';
import type { LoweringOptions } from './options.js';
import { LM_HEAD } from './weights.js';

export interface LoweredDecoderOptions extends LoweringOptions {
  /** false: the cross-attention layers are left out entirely, as for text without any image. */
  readonly crossAttention: boolean;
  /** The queries of the cross layers are outputs: with the keys of an image they give its attention weights. */
  readonly crossQueries?: boolean | undefined;
}

/**
 * T is the decoder's type. Inputs: `inputs_embeds` float32 `[1,R,hidden]`, `past_length` int32 `[1]`,
 * `past_key.{i}`, `past_value.{i}` T `[1,kvHeads,capacity,headDim]` per self layer i, `logits_rows` int64 `[L]`; with
 * cross-attention also `cross_key.{i}`, `cross_value.{i}` T `[1,kvHeads,K,headDim]` per cross layer,
 * `cross_attention_bias` float32 `[1,1,R,K]`, `cross_attention_rows`, `cross_mlp_rows` float32 `[1,R,1]` (as
 * `planCrossAttention` gives them).
 * Outputs: `logits` float32 `[L,vocabulary]`, `present_key.{i}`, `present_value.{i}`: the past with the new tokens in
 * their places, which a plugin writes where the past lies; with `crossQueries` also `cross_query.{i}` T
 * `[R,heads,headDim]`, normalised, not scaled: what `CrossAttention` takes, so that giving it out computes nothing more.
 */
export function lowerDecoder(model: ModelDescription, options: LoweredDecoderOptions): Lowering {
  return new LoweredDecoder(model, options).build();
}

/** `cross_attention_states` T `[K, hidden]` → `cross_key.{i}`, `cross_value.{i}` T `[1, kvHeads, K, headDim]`. */
export function lowerCrossKeyValue(model: ModelDescription, options: LoweringOptions): Lowering {
  const type = options.decoderType;
  const lowering = Object.assign(new Lowering('cross_kv', model, options, type), { text: model.architecture.text });
  const { b, text } = lowering;
  const states = b.input('cross_attention_states', type, ['K', text.hiddenSize]);
  const shape = [1, text.keyValueHeads, 'K', text.headDim];
  for (const layer of text.crossAttentionLayers) {
    crossKeyValue(lowering, states, layer, (name, value) =>
      b.output(b.as(value, type), `${name}.${layer}`, type, shape),
    );
  }
  return lowering;
}

class LoweredDecoder extends Lowering implements DecoderLowering {
  readonly text: TextArchitecture;
  readonly #model: ModelDescription;
  readonly #options: LoweredDecoderOptions;
  #pastLength: Value = '';
  #cos: Value = '';
  #sin: Value = '';
  /** `[1, 1, R, K]`. */
  #bias: Value = '';

  constructor(model: ModelDescription, options: LoweredDecoderOptions) {
    super(graphName(options), model, options, options.decoderType);
    this.text = model.architecture.text;
    this.#model = model;
    this.#options = options;
  }

  build(): this {
    const { b, text } = this;
    const { hiddenSize: hidden } = text;
    const embeddings = b.input('inputs_embeds', 'float32', [1, 'R', hidden]);
    this.#pastLength = b.input('past_length', 'int32', [1]);
    ({ cos: this.#cos, sin: this.#sin } = ropeInitializers(b, text, this.#options.capacity));
    const cross = this.#options.crossAttention ? this.#crossInputs() : undefined;
    const logitsRows = b.input('logits_rows', 'int64', ['L']);

    const residual = new FloatResidual(this, b.reshape(embeddings, [-1, hidden]));
    const normed = decoderLayers(this, residual, cross, (layer) =>
      this.#trace(() => residual.value(), `after_layer_${layer}`),
    );
    this.#trace(() => normed, 'after_final_norm');
    const logits = b.as(this.linear(b.gather(normed, logitsRows), LM_HEAD), 'float32');
    b.output(logits, 'logits', 'float32', ['L', this.#model.architecture.text.vocabularySize]);
    return this;
  }

  silu(x: Value): Value {
    const wide = this.b.as(x, 'float32');
    return this.b.mul(wide, this.b.node('Sigmoid', [wide]));
  }

  product(a: Value, b: Value): Value {
    return this.mul(a, b);
  }

  gated(y: Value, gate: string, tokenGate: Value): Value {
    return this.b.mul(this.mul(y, this.gate(gate)), tokenGate);
  }

  selfAttention(layer: number, projections: SelfAttentionProjections): Value {
    const { b, type, text } = this;
    const { keyValueHeads, attentionHeads, headDim } = text;
    const { capacity } = this.#options;
    const cache = [1, keyValueHeads, capacity, headDim];
    const perHead = (x: Value, heads: number) => b.reshape(x, [-1, heads, headDim]);
    const inputs = [
      perHead(projections.query, attentionHeads),
      perHead(projections.key, keyValueHeads),
      perHead(projections.value, keyValueHeads),
      b.input(`past_key.${layer}`, type, cache),
      b.input(`past_value.${layer}`, type, cache),
      this.#pastLength,
      this.#cos,
      this.#sin,
    ];
    // The caches are outputs of the node itself: an Identity in between would copy what a plugin writes in place.
    const names = [`present_key.${layer}`, `present_value.${layer}`];
    const attributes = { ...headAttributes(text), capacity };
    const outputs = ['attended', 'present_key', 'present_value'];
    const body = () => kvAttention(type, text, capacity);
    const made = this.call(KV_ATTENTION, body, inputs, outputs, attributes, [undefined, ...names]);
    for (const name of names) b.declareOutput(name, type, cache);
    return made[0]!;
  }

  crossAttention(layer: number, query: Value): Value {
    const { b, type, text } = this;
    const { keyValueHeads, headDim } = text;
    const cached = (name: string) => b.input(`${name}.${layer}`, type, [1, keyValueHeads, 'K', headDim]);
    const inputs = [b.as(query, type), cached('cross_key'), cached('cross_value'), this.#bias];
    const body = () => crossAttention(type, text);
    return this.call(CROSS_ATTENTION, body, inputs, [CROSS_ATTENTION], headAttributes(text))[0]!;
  }

  tapCrossQuery(layer: number, query: Value): void {
    if (this.#options.crossQueries !== true) return;
    const { b, type, text } = this;
    b.output(b.as(query, type), `cross_query.${layer}`, type, ['R', text.attentionHeads, text.headDim]);
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

function graphName({ crossAttention, crossQueries }: LoweredDecoderOptions): string {
  if (!crossAttention) return 'decoder_text';
  return crossQueries === true ? 'decoder_queries' : 'decoder';
}

/** Kept in float32: what 40 layers add up to is more than 16 bits hold well. */
class FloatResidual implements ResidualStream {
  readonly #lowering: Lowering;
  #sum: Value;

  constructor(lowering: Lowering, start: Value) {
    this.#lowering = lowering;
    this.#sum = start;
  }

  add(delta: Value): void {
    this.#sum = this.#lowering.add(this.#sum, delta);
  }

  norm(weight: string): Value {
    return this.#lowering.rmsNorm(this.#sum, weight);
  }

  value(): Value {
    return this.#sum;
  }
}
