/** Keys and values of the cross-attention layers (spec §8): they depend on the image only, so they are made once. */
import type { ModelDescription } from './architecture.js';
import { GraphBuilder, type Value } from './builder.js';
import { rmsNorm } from './decoder-parts.js';
import type { GraphOptions } from './options.js';
import { Weights } from './weights.js';

/** Model `cross_attention_states [K, hidden]` → `cross_key.{i}`, `cross_value.{i}` `[1, kvHeads, K, headDim]`, i = layer. */
export function emitCrossKeyValue(model: ModelDescription, options: GraphOptions): Uint8Array {
  const b = new GraphBuilder('cross_kv');
  const w = new Weights(model, options.weightsRoot, options.accuracyLevel);
  const { hiddenSize, keyValueHeads: heads, headDim, crossAttentionLayers, rmsNormEps } = model.architecture.text;
  const states = b.input('cross_attention_states', 'float32', ['K', hiddenSize]);
  const shape = [1, heads, 'K', headDim];
  const headsFirst = (x: Value) => b.reshape(b.transpose(x, [1, 0, 2]), [1, heads, -1, headDim]);
  for (const layer of crossAttentionLayers) {
    const prefix = `language_model.model.layers.${layer}.cross_attn`;
    b.within(prefix, () => {
      const perHead = (name: string) => b.reshape(w.linear(b, states, `${prefix}.${name}`), [-1, heads, headDim]);
      const key = rmsNorm(b, w, perHead('k_proj'), `${prefix}.k_norm.weight`, rmsNormEps);
      b.output(headsFirst(key), `cross_key.${layer}`, 'float32', shape);
      b.output(headsFirst(perHead('v_proj')), `cross_value.${layer}`, 'float32', shape);
    });
  }
  return b.encode();
}
