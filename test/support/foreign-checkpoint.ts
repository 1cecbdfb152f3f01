/**
 * The golden checkpoint as other tools would write it, apart from the product's own readers: integers, zeros and scales are
 * drawn, packed by plain loops, and what they stand for is kept beside.
 */
import { cpSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import {
  editJson,
  type FreeJson,
  type RawTensor,
  readTensors,
  writeTensors,
} from '../unit/checkpoint/checkpoint-folder.js';

export type ForeignKind = 'gptq' | 'gptq_v2' | 'awq' | 'mlx' | 'mlx-bf16' | 'compressed-tensors';

export interface ForeignOptions {
  /** −1: one scale for each output. */
  readonly groupSize?: number;
  /** Every zero in the middle. */
  readonly symmetric?: boolean;
  /** Not only the linears of the text decoder. */
  readonly everything?: boolean;
}

export interface ForeignFolder {
  readonly folder: string;
  /** What every packed weight stands for, `[N, K]`. */
  readonly values: ReadonlyMap<string, Float32Array>;
}

const LINEAR = /^language_model\.model\.layers\.\d+\.(self_attn|cross_attn|mlp)\.\w+_proj\.weight$/;

const EVERYTHING = /(embed_tokens|lm_head|multi_modal_projector|fc[12])\.weight$/;

export function makeForeignCheckpoint(
  source: string,
  target: string,
  kind: ForeignKind,
  options: ForeignOptions = {},
): ForeignFolder {
  const { symmetric = false, everything = false } = options;
  const folder = path.join(target, kind);
  cpSync(source, folder, { recursive: true });
  for (const file of readdirSync(folder)) if (file.endsWith('.safetensors')) rmSync(path.join(folder, file));
  let state = 12_345;
  const draw = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >> 8) % below;
  };
  const tensors = new Map<string, RawTensor>();
  const values = new Map<string, Float32Array>();
  for (const [name, tensor] of readTensors(path.join(source, 'model.safetensors'))) {
    const base = (kind.startsWith('mlx') ? name.replace(/^vision_model/, 'vision_tower') : name).slice(
      0,
      -'.weight'.length,
    );
    const isPacked = LINEAR.test(name) || (everything && EVERYTHING.test(name));
    if (!isPacked || kind === 'mlx-bf16') {
      const renamed = kind.startsWith('mlx') ? name.replace(/^vision_model/, 'vision_tower') : name;
      const isKernel = kind.startsWith('mlx') && name.endsWith('patch_embedding.weight');
      tensors.set(renamed, isKernel ? channelsLast(tensor) : tensor);
      continue;
    }
    const [outputs, inputs] = tensor.shape as [number, number];
    const groupSize = options.groupSize === -1 ? inputs : (options.groupSize ?? 32);
    const groups = inputs / groupSize;
    const q = Uint8Array.from({ length: outputs * inputs }, () => draw(16));
    const zero = Uint8Array.from({ length: outputs * groups }, () => (symmetric ? 8 : 1 + draw(14)));
    const scale = Float32Array.from({ length: outputs * groups }, () => (1 + draw(1000)) * 2 ** -16); // exact in float16
    const group = (n: number, k: number) => n * groups + Math.floor(k / groupSize);
    const isMlx = kind === 'mlx';
    const bias = scale.map((each, i) => Math.fround(-each * zero[i]!));
    values.set(
      name,
      Float32Array.from(q, (value, i) => {
        const g = group(Math.floor(i / inputs), i % inputs);
        return isMlx ? Math.fround(value * scale[g]!) + bias[g]! : (value - zero[g]!) * scale[g]!;
      }),
    );
    const word = (dtype: string, shape: number[], nibble: (index: number, lane: number) => number): RawTensor => {
      const packed = new Uint32Array(shape[0]! * shape[1]!);
      for (let i = 0; i < packed.length; i++) for (let j = 0; j < 8; j++) packed[i]! |= nibble(i, j) << (4 * j);
      return { dtype, shape, data: Buffer.from(packed.buffer) };
    };
    const byGroup = (of: Float32Array) => {
      const turned = new Float32Array(of.length);
      for (let n = 0; n < outputs; n++) for (let g = 0; g < groups; g++) turned[g * outputs + n] = of[n * groups + g]!;
      return { dtype: 'F32', shape: [groups, outputs], data: Buffer.from(turned.buffer) };
    };
    const plain = (of: Float32Array) => ({
      dtype: 'F32',
      shape: [outputs, groups],
      data: Buffer.from(of.buffer.slice(0)),
    });
    const AWQ = [0, 2, 4, 6, 1, 3, 5, 7];
    const perRow = outputs / 8;
    if (kind === 'gptq' || kind === 'gptq_v2') {
      const less = kind === 'gptq' ? 1 : 0;
      tensors.set(
        `${base}.qweight`,
        word('I32', [inputs / 8, outputs], (i, j) => q[(i % outputs) * inputs + Math.floor(i / outputs) * 8 + j]!),
      );
      tensors.set(
        `${base}.qzeros`,
        word('I32', [groups, perRow], (i, j) => zero[((i % perRow) * 8 + j) * groups + Math.floor(i / perRow)]! - less),
      );
      tensors.set(`${base}.scales`, byGroup(scale));
      const order = Int32Array.from({ length: inputs }, (_, k) => Math.floor(k / groupSize));
      tensors.set(`${base}.g_idx`, { dtype: 'I32', shape: [inputs], data: Buffer.from(order.buffer) });
    } else if (kind === 'awq') {
      tensors.set(
        `${base}.qweight`,
        word('I32', [inputs, perRow], (i, j) => q[((i % perRow) * 8 + AWQ[j]!) * inputs + Math.floor(i / perRow)]!),
      );
      tensors.set(
        `${base}.qzeros`,
        word('I32', [groups, perRow], (i, j) => zero[((i % perRow) * 8 + AWQ[j]!) * groups + Math.floor(i / perRow)]!),
      );
      tensors.set(`${base}.scales`, byGroup(scale));
    } else if (isMlx) {
      tensors.set(
        `${base}.weight`,
        word('U32', [outputs, inputs / 8], (i, j) => q[i * 8 + j]!),
      );
      tensors.set(`${base}.scales`, plain(scale));
      tensors.set(`${base}.biases`, plain(bias));
    } else {
      tensors.set(
        `${base}.weight_packed`,
        word('I32', [outputs, inputs / 8], (i, j) => q[i * 8 + j]!),
      );
      tensors.set(`${base}.weight_scale`, plain(scale));
      tensors.set(
        `${base}.weight_zero_point`,
        word('I32', [outputs / 8, groups], (i, j) => zero[(Math.floor(i / groups) * 8 + j) * groups + (i % groups)]!),
      );
      tensors.set(`${base}.weight_shape`, {
        dtype: 'I64',
        shape: [2],
        data: Buffer.from(BigInt64Array.of(BigInt(outputs), BigInt(inputs)).buffer),
      });
    }
  }
  writeTensors(path.join(folder, 'model.safetensors'), tensors);
  editJson(path.join(folder, 'config.json'), (config: FreeJson) =>
    Object.assign(config, configOf(kind, options.groupSize ?? 32, symmetric)),
  );
  return { folder, values };
}

function configOf(kind: ForeignKind, groupSize: number, symmetric: boolean): FreeJson {
  switch (kind) {
    case 'gptq':
    case 'gptq_v2':
      return {
        quantization_config: {
          quant_method: 'gptq',
          bits: 4,
          group_size: groupSize,
          sym: symmetric,
          desc_act: false,
          checkpoint_format: kind,
        },
      };
    case 'awq':
      return {
        quantization_config: { quant_method: 'awq', bits: 4, group_size: groupSize, zero_point: true, version: 'gemm' },
      };
    case 'mlx':
      return {
        quantization: { bits: 4, group_size: groupSize },
        quantization_config: { bits: 4, group_size: groupSize },
      };
    case 'mlx-bf16':
      return {};
    case 'compressed-tensors': {
      const weights = { num_bits: 4, type: 'int', symmetric, strategy: 'group', group_size: groupSize };
      return {
        quantization_config: {
          quant_method: 'compressed-tensors',
          format: 'pack-quantized',
          config_groups: { group_0: { targets: ['Linear'], weights } },
          ignore: ['re:.*lm_head', 're:.*vision_model.*'],
        },
      };
    }
  }
}

/** `[N, C, H, W]` to `[N, H, W, C]`. */
function channelsLast({ dtype, shape, data }: RawTensor): RawTensor {
  const [outputs, channels, height, width] = shape as [number, number, number, number];
  const source = new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
  const turned = new Float32Array(source.length);
  let i = 0;
  for (let n = 0; n < outputs; n++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        for (let c = 0; c < channels; c++) turned[i++] = source[((n * channels + c) * height + y) * width + x]!;
  return { dtype, shape: [outputs, height, width, channels], data: Buffer.from(turned.buffer) };
}
