/**
 * The TensorRT lowering. The same files run in ONNX Runtime on the CPU, which is how they are proven where there is no
 * GPU.
 *
 * What it relies on, by version of TensorRT (the range that is supported is 10.3 to 11):
 * - 10.0: local functions, strongly typed networks, bfloat16, int64, int4 `DequantizeLinear` of a constant `[K, N]`
 *   along axis 0 with scales `[K/group, N]` > 0, no zero point, straight into a `MatMul`. `Gelu`, `LayerNormalization`.
 *   Block 128 is what NVIDIA's own exporter writes; 32 and 64 are accepted by the parser and not known to be fast.
 * - Not relied on: `RMSNormalization`, `RotaryEmbedding`, `TensorScatter` (10.15), `Attention` (10.14). These are
 *   composed of older operators.
 * - Every dynamic size follows from the shape of an input. No input's *value* decides a shape, so none of them has to
 *   lie in host memory, and one captured CUDA graph serves every position.
 * - The parser refuses external data outside the folder of the model, so the path that it is told must lie in
 *   `weightsRoot`.
 */
import type { GraphOptions } from '../options.js';

/** Raise when emitted graphs, manifests or weight files change. */
export const LOWERING_VERSION = 4;

/** float32 is for proofs on the CPU. */
export type LoweredType = 'float16' | 'bfloat16' | 'float32';

export interface LoweringOptions extends Pick<GraphOptions, 'weightsRoot' | 'taps' | 'instrument'> {
  /** Positions that the K/V cache and the rotary tables hold. */
  readonly capacity: number;
  readonly decoderType: LoweredType;
  /** The published vision tower overflows in float16. */
  readonly visionType: Exclude<LoweredType, 'float16'>;
  /** Tokens of one prefill step. */
  readonly maxPrefillTokens: number;
  /** Tokens of one decode step: 1, or a draft that is verified. Also the most logits rows that one step gives. */
  readonly maxDecodeTokens: number;
  /** Images that one sequence may look at. */
  readonly maxImages: number;
  /** Where weights lie that the checkpoint does not hold in the needed form (`LoweredWeights`). Need not exist yet. */
  readonly convertedFile: string;
  readonly transposedFile: string;
}

/** What is lowered when nothing else is asked for. */
export const DEFAULT_LOWERING = {
  taps: 'inputs',
  instrument: false,
  decoderType: 'float16',
  visionType: 'bfloat16',
  maxPrefillTokens: 512,
  maxDecodeTokens: 8,
  maxImages: 1,
} as const satisfies Partial<LoweringOptions>;
