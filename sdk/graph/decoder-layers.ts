/**
 * The text decoder as it is for every runtime: what follows what. How each piece becomes operators is a
 * lowering's affair.
 */
import type { TextArchitecture } from '../architecture/architecture.js';
import type { GraphBuilder, Value } from './builder.js';

/** The sum that layers add to. */
export interface ResidualStream {
  add(delta: Value): void;
  /** RMSNorm of the sum so far. */
  norm(weight: string): Value;
  /** The sum so far, for inspection. */
  value(): Value;
}

export interface SelfAttentionProjections {
  /** `[R, heads·headDim]`, key and value `[R, kvHeads·headDim]`, not rotated. */
  readonly query: Value;
  readonly key: Value;
  readonly value: Value;
}

export interface DecoderLowering {
  readonly b: GraphBuilder;
  readonly text: TextArchitecture;
  /** `x [tokens, in]` times the weight `[out, in]` of `name`. */
  linear(x: Value, name: string): Value;
  /** Over the last axis. */
  rmsNorm(x: Value, weight: string): Value;
  silu(x: Value): Value;
  product(a: Value, b: Value): Value;
  /** `y` times tanh of a layer's gate, times `tokenGate [R, 1]`. */
  gated(y: Value, gate: string, tokenGate: Value): Value;
  /** Causal attention with rotary positions over past and new tokens, which it keeps: `[R, heads·headDim]`. */
  selfAttention(layer: number, projections: SelfAttentionProjections): Value;
  /** `query [R, heads, headDim]`, normalised, over the keys of the images: `[R, heads·headDim]`. */
  crossAttention(layer: number, query: Value): Value;
  /**
   * Makes `query [R, heads, headDim]` of `crossAttention` an output, `cross_query.{layer}`: with the keys, which whoever
   * runs the graph has, it gives the attention weights of any head. Left out: nobody wants to know.
   */
  tapCrossQuery?(layer: number, query: Value): void;
}

/** `[R, 1]`: 1, or 0 where a token's result is dropped. */
export interface CrossTokenGates {
  readonly attention: Value;
  readonly mlp: Value;
}

/** Indices of the self-attention layers among all layers. */
export function selfAttentionLayers(text: TextArchitecture): number[] {
  const cross = new Set(text.crossAttentionLayers);
  return Array.from({ length: text.layers }, (_, layer) => layer).filter((layer) => !cross.has(layer));
}

export function layerPrefix(layer: number): string {
  return `language_model.model.layers.${layer}`;
}

export function selfLayer(l: DecoderLowering, residual: ResidualStream, layer: number): void {
  const prefix = layerPrefix(layer);
  const x = residual.norm(`${prefix}.input_layernorm.weight`);
  const projected = (name: string) => l.linear(x, `${prefix}.self_attn.${name}_proj`);
  const attended = l.selfAttention(layer, { query: projected('q'), key: projected('k'), value: projected('v') });
  residual.add(l.linear(attended, `${prefix}.self_attn.o_proj`));
  residual.add(gatedMlp(l, residual.norm(`${prefix}.post_attention_layernorm.weight`), `${prefix}.mlp`));
}

/** Cross-attention: queries with their own norm and no rotation; both results gated per layer and per token. */
export function crossLayer(
  l: DecoderLowering,
  residual: ResidualStream,
  layer: number,
  tokenGates: CrossTokenGates,
): void {
  const prefix = layerPrefix(layer);
  const { attentionHeads, headDim } = l.text;
  const x = residual.norm(`${prefix}.input_layernorm.weight`);
  const query = l.b.reshape(l.linear(x, `${prefix}.cross_attn.q_proj`), [-1, attentionHeads, headDim]);
  const normed = l.rmsNorm(query, `${prefix}.cross_attn.q_norm.weight`);
  l.tapCrossQuery?.(layer, normed);
  const attended = l.linear(l.crossAttention(layer, normed), `${prefix}.cross_attn.o_proj`);
  residual.add(l.gated(attended, `${prefix}.cross_attn_attn_gate`, tokenGates.attention));
  const mlp = gatedMlp(l, residual.norm(`${prefix}.post_attention_layernorm.weight`), `${prefix}.mlp`);
  residual.add(l.gated(mlp, `${prefix}.cross_attn_mlp_gate`, tokenGates.mlp));
}

/** `down(silu(gate(x)) · up(x))`: `[R, hidden]`. */
function gatedMlp(l: DecoderLowering, x: Value, prefix: string): Value {
  const gate = l.silu(l.linear(x, `${prefix}.gate_proj`));
  return l.linear(l.product(gate, l.linear(x, `${prefix}.up_proj`)), `${prefix}.down_proj`);
}

/** All layers and the last norm: `[R, hidden]`. `tokenGates` undefined: the cross layers are left out entirely. */
export function decoderLayers(
  l: DecoderLowering,
  residual: ResidualStream,
  tokenGates: CrossTokenGates | undefined,
  afterLayer: (layer: number) => void = () => {},
): Value {
  const crossLayers = new Set(l.text.crossAttentionLayers);
  for (let layer = 0; layer < l.text.layers; layer++) {
    if (crossLayers.has(layer) && tokenGates === undefined) continue;
    l.b.within(layerPrefix(layer), () => {
      if (crossLayers.has(layer)) crossLayer(l, residual, layer, tokenGates!);
      else selfLayer(l, residual, layer);
      afterLayer(layer);
    });
  }
  return residual.norm('language_model.model.norm.weight');
}

/**
 * What cross-attention of one layer looks at, made of the states `[K, hidden]` once per image: `output` takes key
 * and value `[1, kvHeads, K, headDim]`.
 */
export function crossKeyValue(
  l: Pick<DecoderLowering, 'b' | 'text' | 'linear' | 'rmsNorm'>,
  states: Value,
  layer: number,
  output: (name: 'cross_key' | 'cross_value', value: Value) => void,
): void {
  const { keyValueHeads: heads, headDim } = l.text;
  const prefix = `${layerPrefix(layer)}.cross_attn`;
  const headsFirst = (x: Value) => l.b.reshape(l.b.transpose(x, [1, 0, 2]), [1, heads, -1, headDim]);
  l.b.within(prefix, () => {
    const perHead = (name: string) => l.b.reshape(l.linear(states, `${prefix}.${name}`), [-1, heads, headDim]);
    output('cross_key', headsFirst(l.rmsNorm(perHead('k_proj'), `${prefix}.k_norm.weight`)));
    output('cross_value', headsFirst(perHead('v_proj')));
  });
}
