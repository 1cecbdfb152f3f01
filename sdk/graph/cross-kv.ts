/** Keys and values of the cross-attention layers: they depend on the image only, so they are made once. */
import type { ModelDescription } from '../architecture/architecture.js';
import { GraphBuilder, type Value } from './builder.js';
import { crossKeyValue } from './decoder-layers.js';
import { rmsNorm } from './decoder-parts.js';
import type { GraphOptions } from './options.js';
import { Weights } from './weights.js';

/** Model `cross_attention_states [K, hidden]` → `cross_key.{i}`, `cross_value.{i}` `[1, kvHeads, K, headDim]`, i = layer. */
export function emitCrossKeyValue(model: ModelDescription, options: GraphOptions): Uint8Array {
  const b = new GraphBuilder('cross_kv');
  const w = new Weights(model, options.weightsRoot, options.accuracyLevel);
  const { text } = model.architecture;
  const lowering = {
    b,
    text,
    linear: (x: Value, name: string) => w.linear(b, x, name),
    rmsNorm: (x: Value, weight: string) => rmsNorm(b, w, x, weight, text.rmsNormEps),
  };
  const states = b.input('cross_attention_states', 'float32', ['K', text.hiddenSize]);
  const shape = [1, text.keyValueHeads, 'K', text.headDim];
  for (const layer of text.crossAttentionLayers) {
    crossKeyValue(lowering, states, layer, (name, value) => b.output(value, `${name}.${layer}`, 'float32', shape));
  }
  return b.encode();
}
