/**
 * Other people's ways to write a model's weights, told by what they leave in config.json and in the names of tensors.
 * None of them is run as it is; those whose numbers can be had exactly are converted by `scenebus quantize --from`.
 */
import { SdkError } from '../core/errors.js';
import type { MllamaConfig } from './config.js';

export const CONVERTIBLE_FORMATS = ['mlx', 'awq', 'gptq', 'compressed-tensors'] as const;
export type ConvertibleFormat = (typeof CONVERTIBLE_FORMATS)[number];

export interface ForeignFormat {
  /** For people: `AWQ, 4 bits in groups of 128`. */
  readonly name: string;
  /** What `--from` calls it; null: it cannot be converted. */
  readonly convertible: ConvertibleFormat | null;
}

/** A JSON object of somebody's config, fields of any type. */
export type FreeObject = Readonly<Record<string, unknown>>;

/** `quantization_config`, or what older llm-compressor wrote in its place; null when there is neither. */
export function statedQuantization(config: MllamaConfig): FreeObject | null {
  const { compression_config: older } = config as FreeObject;
  const stated = config.quantization_config ?? objectOf(older);
  if (stated === null) return null;
  // transformers' first integration wrote the parts one level down.
  const inner = objectOf(stated.quantization_config);
  const whole = inner === null ? stated : { ...inner, ...stated };
  if (config.quantization_config != null || whole.quant_method !== undefined) return whole;
  return whole.config_groups === undefined ? null : { quant_method: 'compressed-tensors', ...whole };
}

/** What mlx-lm and mlx-vlm write: `{ "group_size": 64, "bits": 4 }`, sometimes under both names. */
export function mlxQuantization(config: MllamaConfig): FreeObject | null {
  const { quantization, quantization_config: copy } = config as FreeObject;
  const stated = objectOf(quantization) ?? objectOf(copy);
  if (stated === null || stated.quant_method !== undefined) return null;
  return typeof stated.bits === 'number' && typeof stated.group_size === 'number' ? stated : null;
}

const METHODS: ReadonlyMap<string, string> = new Map([
  ['bitsandbytes', 'bitsandbytes'],
  ['fp8', 'FP8'],
  ['fbgemm_fp8', 'FP8 (FBGEMM)'],
  ['modelopt', 'NVIDIA ModelOpt'],
  ['modelopt_fp4', 'NVIDIA ModelOpt NVFP4'],
  ['mxfp4', 'MXFP4'],
  ['auto-round', 'AutoRound'],
  ['intel/auto-round', 'AutoRound'],
  ['hqq', 'HQQ'],
  ['aqlm', 'AQLM'],
  ['quanto', 'Quanto'],
  ['torchao', 'TorchAO'],
  ['eetq', 'EETQ'],
  ['vptq', 'VPTQ'],
  ['quip', 'QuIP#'],
  ['spqr', 'SpQR'],
  ['higgs', 'HIGGS'],
  ['bitnet', 'BitNet'],
]);

/** Formats of compressed-tensors whose weights are not packed integers. */
const FORMATS: ReadonlyMap<string, string> = new Map([
  ['float-quantized', 'FP8 (compressed-tensors float-quantized)'],
  ['naive-quantized', 'FP8 or INT8 (compressed-tensors naive-quantized)'],
  ['int-quantized', 'INT8 (compressed-tensors int-quantized)'],
  ['nvfp4-pack-quantized', 'NVFP4 (compressed-tensors nvfp4-pack-quantized)'],
  ['mxfp4-pack-quantized', 'MXFP4 (compressed-tensors mxfp4-pack-quantized)'],
  ['marlin-24', 'Marlin 2:4 (compressed-tensors marlin-24)'],
]);

/**
 * @param names of all tensors, as the files state them
 * @returns null for plain weights and for compressed-tensors `pack-quantized`, which is looked at by its own reader
 */
export function foreignFormatOf(config: MllamaConfig, names: Iterable<string>): ForeignFormat | null {
  const mlx = mlxQuantization(config);
  if (mlx !== null) return { name: `MLX, ${inGroups(mlx.bits, mlx.group_size)}`, convertible: 'mlx' };
  const stated = statedQuantization(config);
  if (stated !== null) return ofConfig(stated);
  for (const name of names) {
    if (/(^|\.)vision_tower\./.test(name)) return { name: 'MLX (mlx-vlm)', convertible: 'mlx' };
    if (/\.quant_state\.bitsandbytes__|\.weight\.(absmax|quant_map)$/.test(name)) {
      return { name: 'bitsandbytes', convertible: null };
    }
    if (name.endsWith('.qweight')) return { name: 'GPTQ or AWQ without its quantization_config', convertible: null };
    if (name.endsWith('.weight_scale_2')) return { name: 'NVFP4 (NVIDIA ModelOpt)', convertible: null };
    if (name.endsWith('.input_scale')) return { name: 'FP8 (NVIDIA ModelOpt)', convertible: null };
    if (name.endsWith('.weight_scale_inv')) return { name: 'FP8', convertible: null };
  }
  return null;
}

function ofConfig(stated: FreeObject): ForeignFormat | null {
  const method = String(stated.quant_method ?? '').toLowerCase();
  if (method === 'awq') {
    const version = String(stated.version ?? 'gemm').toLowerCase();
    const isKnown = stated.bits === 4 && version === 'gemm';
    const layout = version === 'gemm' ? '' : `, layout ${version}`;
    return { name: `AWQ, ${inGroups(stated.bits, stated.group_size)}${layout}`, convertible: isKnown ? 'awq' : null };
  }
  if (method === 'gptq') {
    const version = String(stated.checkpoint_format ?? 'gptq').toLowerCase();
    const isKnown = stated.bits === 4 && (version === 'gptq' || version === 'gptq_v2');
    const name = `GPTQ, ${inGroups(stated.bits, stated.group_size)}, checkpoint_format ${version}`;
    return { name, convertible: isKnown ? 'gptq' : null };
  }
  if (method === 'bitsandbytes') {
    const kind = stated.load_in_8bit === true ? 'LLM.int8()' : String(stated.bnb_4bit_quant_type ?? '4 bits');
    return { name: `bitsandbytes (${kind})`, convertible: null };
  }
  if (method === 'modelopt') {
    const algorithm = stated.quant_algo ?? objectOf(stated.quantization)?.quant_algo;
    return { name: `NVIDIA ModelOpt${algorithm === undefined ? '' : ` (${String(algorithm)})`}`, convertible: null };
  }
  const name = METHODS.get(method);
  if (name !== undefined) return { name, convertible: null };
  if (method !== 'compressed-tensors') return null;
  const formats = [
    stated.format,
    ...Object.values(objectOf(stated.config_groups) ?? {}).map((g) => objectOf(g)?.format),
  ];
  const foreign = formats.map((format) => FORMATS.get(String(format))).find((each) => each !== undefined);
  return foreign === undefined ? null : { name: foreign, convertible: null };
}

/** One sentence: what it is, and the way out. */
export function foreignFormatError(directory: string, { name, convertible }: ForeignFormat): SdkError {
  const wayOut =
    convertible === null
      ? 'Take the 16-bit checkpoint that it was made from, and quantise that with `scenebus quantize`.'
      : `\`scenebus quantize ${directory} OUTPUT --from ${convertible}\` converts it.`;
  return new SdkError(
    'ERR_MODEL_UNSUPPORTED',
    `${directory} is in the format ${name}, which is not run as it is. ${wayOut}`,
    {
      details: { directory, format: name, convertible },
    },
  );
}

function inGroups(bits: unknown, size: unknown): string {
  return `${String(bits)} bits ${size === -1 ? 'by channel' : `in groups of ${String(size)}`}`;
}

function objectOf(value: unknown): FreeObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as FreeObject) : null;
}
