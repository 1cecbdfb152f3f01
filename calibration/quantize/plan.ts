/** What a quantised folder will hold, known to the byte before anything is written. */
import { SdkError } from '#sdk/core/errors.js';
import type { WeightBits } from './round-to-nearest.js';
import { encodeHeader, layoutOrder, type PlannedTensor, tensorBytes } from './safetensors-writer.js';
import type { SourceTensor } from './sources/source-tensor.js';

export const LM_HEAD_PRECISIONS = ['bf16', 'int8', 'int4'] as const;
export type LmHeadPrecision = (typeof LM_HEAD_PRECISIONS)[number];

export type QuantizeMethod = 'rtn' | 'awq';

export interface OutputTensor extends PlannedTensor {
  readonly source: SourceTensor;
  /**
   * `copy`: the bytes as they are; `float`: values in another type, or computed ones; `folded`: a norm that calibration
   * changed; the rest are parts of a packed linear, `exact…`: the integers and scales of the source.
   */
  readonly part: 'copy' | 'float' | 'folded' | 'packed' | 'scale' | 'shape' | 'exactPacked' | 'exactScale';
  /** Of a packed linear. */
  readonly bits?: WeightBits;
}

export interface OutputFile {
  readonly name: string;
  readonly tensors: readonly OutputTensor[];
  readonly sizeBytes: number;
}

/** What a tensor becomes; null: it stays. The linears of the text decoder get 4 bits, self and cross layers alike. */
function bitsFor(name: string, lmHead: LmHeadPrecision): WeightBits | null {
  if (name === 'language_model.lm_head.weight') return { bf16: null, int8: 8, int4: 4 }[lmHead] as WeightBits | null;
  return /^language_model\.model\.layers\.\d+\.(self_attn|cross_attn|mlp)\.[a-z]+_proj\.weight$/.test(name) ? 4 : null;
}

/** Norms that calibration folds factors into. */
function isFolded(name: string, lmHead: LmHeadPrecision): boolean {
  if (name === 'language_model.model.norm.weight') return lmHead === 'int4';
  return /^language_model\.model\.layers\.\d+\.(input|post_attention)_layernorm\.weight$/.test(name);
}

/** @throws SdkError ERR_ARGUMENT_INVALID when the group size does not divide the inputs of every linear */
export function planTensors(
  tensors: ReadonlyMap<string, SourceTensor>,
  groupSize: number,
  lmHead: LmHeadPrecision,
  method: QuantizeMethod,
): OutputTensor[] {
  const planned: OutputTensor[] = [];
  const misfits = new Set<number>();
  for (const [name, source] of tensors) {
    if (method === 'awq' && isFolded(name, lmHead)) {
      planned.push({ name, dtype: 'BF16', shape: source.shape, source, part: 'folded' });
      continue;
    }
    const bits = bitsFor(name, lmHead);
    if (bits === null) {
      planned.push(floatTensor(name, source, source.dtype === 'F32' ? 'BF16' : source.dtype));
      continue;
    }
    const [outputs, inputs] = source.shape as [number, number];
    if (inputs % groupSize !== 0) misfits.add(inputs);
    // Smaller groups within those of the source share its scale.
    const isKept = source.int4?.bits === bits && source.int4.groupSize % groupSize === 0;
    const exact = isKept ? source.int4 : undefined;
    if (exact !== undefined) {
      const scaleShape = [outputs, inputs / groupSize];
      planned.push(
        { name: `${name}_packed`, dtype: 'I32', shape: [outputs, inputs / 8], source, part: 'exactPacked', bits },
        { name: `${name}_scale`, dtype: exact.scaleType, shape: scaleShape, source, part: 'exactScale', bits },
        { name: `${name}_shape`, dtype: 'I64', shape: [2], source, part: 'shape' },
      );
      continue;
    }
    planned.push(
      { name: `${name}_packed`, dtype: 'I32', shape: [outputs, (inputs * bits) / 32], source, part: 'packed', bits },
      { name: `${name}_scale`, dtype: 'BF16', shape: [outputs, inputs / groupSize], source, part: 'scale', bits },
      { name: `${name}_shape`, dtype: 'I64', shape: [2], source, part: 'shape' },
    );
  }
  if (misfits.size > 0) {
    const sizes = [...misfits].sort((a, b) => a - b);
    const fitting = [32, 64, 128].filter((size) => sizes.every((inputs) => inputs % size === 0));
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Groups of ${groupSize} do not divide linears with ${sizes.join(', ')} inputs. ${
        fitting.length > 0 ? `Use --group ${fitting.join(' or ')}.` : 'This model cannot be quantised in groups.'
      }`,
      { details: { groupSize, inputs: sizes, fitting } },
    );
  }
  return planned;
}

/** A tensor that is not packed, in the given type. */
export function floatTensor(name: string, source: SourceTensor, dtype: SourceTensor['dtype']): OutputTensor {
  // float32 is read and written again, which looks at every value.
  const isCopy = source.location !== undefined && source.dtype === dtype && dtype !== 'F32';
  return { name, dtype, shape: source.shape, source, part: isCopy ? 'copy' : 'float' };
}

/** Cuts the tensors into files of at most `shardBytes`, in model order. One file needs no index. */
export function planFiles(tensors: readonly OutputTensor[], shardBytes: number): OutputFile[] {
  const shards: OutputTensor[][] = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    const size = tensorBytes(tensor);
    if (filled > 0 && filled + size > shardBytes) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)!.push(tensor);
    filled += size;
  }
  const pad = (value: number): string => String(value).padStart(5, '0');
  return shards.map((shard, i) => {
    const ordered = layoutOrder(shard);
    const data = ordered.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
    return {
      name: shards.length === 1 ? 'model.safetensors' : `model-${pad(i + 1)}-of-${pad(shards.length)}.safetensors`,
      tensors: ordered,
      sizeBytes: data + encodeHeader(ordered).length,
    };
  });
}

/** `model.safetensors.index.json`. */
export function indexOf(files: readonly OutputFile[]): unknown {
  const weightMap = new Map<string, string>();
  let total = 0;
  for (const file of files) {
    for (const tensor of file.tensors) {
      weightMap.set(tensor.name, file.name);
      total += tensorBytes(tensor);
    }
  }
  const sorted = Object.fromEntries([...weightMap].sort(([a], [b]) => (a < b ? -1 : 1)));
  return { metadata: { total_size: total }, weight_map: sorted };
}

/** As compressed-tensors writes it. Names as patterns: module names differ between generations of transformers. */
export function quantizationConfig(groupSize: number, lmHead: LmHeadPrecision): unknown {
  const group = (targets: readonly string[], bits: WeightBits) => ({
    format: 'pack-quantized',
    input_activations: null,
    output_activations: null,
    targets,
    weights: {
      actorder: null,
      block_structure: null,
      dynamic: false,
      group_size: groupSize,
      num_bits: bits,
      observer: 'minmax',
      observer_kwargs: {},
      strategy: 'group',
      symmetric: true,
      type: 'int',
    },
  });
  // vLLM's class for lm_head is not called Linear: a head that is quantised must be named.
  const head = 're:.*lm_head';
  const groups = {
    bf16: { group_0: group(['Linear'], 4) },
    int8: { group_0: group(['Linear'], 4), group_1: group([head], 8) },
    int4: { group_0: group(['Linear', head], 4) },
  };
  return {
    config_groups: groups[lmHead],
    format: 'pack-quantized',
    global_compression_ratio: null,
    ignore: ['re:.*vision_model.*', 're:.*multi_modal_projector.*', ...(lmHead === 'bf16' ? [head] : [])],
    kv_cache_scheme: null,
    quant_method: 'compressed-tensors',
    quantization_status: 'compressed',
  };
}
