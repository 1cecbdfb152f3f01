/**
 * Attention weights that the recorded reference implies, computed here from nothing but its tensors: the residual stream
 * in front of a cross layer, the vision states, and the layer's weights.
 */
import type { TensorLocation } from '#sdk/architecture/architecture.js';
import type { Checkpoint } from '#sdk/checkpoint/index.js';
import { readTensorF32 } from '#sdk/checkpoint/read-tensor.js';
import type { GoldenTensors } from '../../calibration/verify/golden-folder.js';

/** In double precision; `x [rows, in]` times `weight [out, in]` transposed. */
function linear(x: readonly number[][], weight: Float32Array, outputs: number): number[][] {
  return x.map((row) =>
    Array.from({ length: outputs }, (_, o) =>
      row.reduce((sum, value, i) => sum + value * weight[o * row.length + i]!, 0),
    ),
  );
}

function rmsNorm(row: readonly number[], weight: Float32Array, eps: number): number[] {
  const mean = row.reduce((sum, value) => sum + value * value, 0) / row.length;
  return row.map((value, i) => (value / Math.sqrt(mean + eps)) * weight[i]!);
}

function rows(data: Float32Array, columns: number): number[][] {
  return Array.from({ length: data.length / columns }, (_, r) => [...data.subarray(r * columns, (r + 1) * columns)]);
}

/**
 * Of a prompt with one image, which all its tokens from the image's own on see: `[token][visionToken]` of one head.
 * @param layer a cross layer, not the first layer
 */
export function goldenAttention(
  { model }: Checkpoint,
  tensors: GoldenTensors,
  { layer, head }: { readonly layer: number; readonly head: number },
  visionTokens: number,
): number[][] {
  const { hiddenSize, attentionHeads, keyValueHeads, headDim, rmsNormEps } = model.architecture.text;
  const prefix = `language_model.model.layers.${layer}`;
  const weight = (name: string) => readTensorF32(model.tensors.get(`${prefix}.${name}.weight`) as TensorLocation);
  const data = (name: string) => tensors.get(name)!.data as Float32Array;
  const ofHead = (row: readonly number[], index: number) => row.slice(index * headDim, (index + 1) * headDim);

  const normed = rows(data(`text.after_layer_${layer - 1}`), hiddenSize).map((row) =>
    rmsNorm(row, weight('input_layernorm'), rmsNormEps),
  );
  const queries = linear(normed, weight('cross_attn.q_proj'), attentionHeads * headDim).map((row) =>
    rmsNorm(ofHead(row, head), weight('cross_attn.q_norm'), rmsNormEps),
  );
  const states = rows(data('cross_attention_states'), hiddenSize).slice(0, visionTokens);
  const keyValueHead = Math.floor(head / (attentionHeads / keyValueHeads));
  const keys = linear(states, weight('cross_attn.k_proj'), keyValueHeads * headDim).map((row) =>
    rmsNorm(ofHead(row, keyValueHead), weight('cross_attn.k_norm'), rmsNormEps),
  );
  return queries.map((query) => {
    const scores = keys.map((key) => key.reduce((sum, value, d) => sum + value * query[d]!, 0) / Math.sqrt(headDim));
    const max = Math.max(...scores);
    const exponentials = scores.map((score) => Math.exp(score - max));
    const total = exponentials.reduce((sum, value) => sum + value, 0);
    return exponentials.map((value) => value / total);
  });
}
