/**
 * Quantises a float32 checkpoint folder for tests, written apart from the product's own quantiser: a plain loop over
 * scalars. Two folders come out: the int4 one, and a float one with the dequantised values, which is what an exact
 * int4 engine must compute.
 */
import { cpSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { editJson, type RawTensor, readTensors, writeTensors } from '../unit/checkpoint/checkpoint-folder.js';

const HEAD = 'language_model.lm_head.weight';
const LINEAR = /^language_model\.model\.layers\.\d+\.(self_attn|cross_attn|mlp)\.\w+_proj\.weight$/;

export interface Int4Folders {
  readonly int4: string;
  readonly dequantized: string;
}

/** @param groupSize 'channel': one scale for each output @param head lm_head in 8 bits, or as it is */
export function makeInt4Checkpoint(
  source: string,
  target: string,
  groupSize: number | 'channel',
  { head = 'float' }: { readonly head?: 'int8' | 'float' } = {},
): Int4Folders {
  const folders = { int4: path.join(target, 'int4'), dequantized: path.join(target, 'dequantized') };
  for (const folder of Object.values(folders)) {
    cpSync(source, folder, { recursive: true });
    for (const file of readdirSync(folder)) if (file.endsWith('.safetensors')) rmSync(path.join(folder, file));
  }
  const packed = new Map<string, RawTensor>();
  const plain = new Map<string, RawTensor>();
  for (const [name, tensor] of readTensors(path.join(source, 'model.safetensors'))) {
    const isInt8 = head === 'int8' && name === HEAD;
    if (!LINEAR.test(name) && !isInt8) {
      packed.set(name, tensor);
      plain.set(name, tensor);
      continue;
    }
    const made = quantize(tensor, groupSize === 'channel' ? tensor.shape[1]! : groupSize, isInt8 ? 8 : 4);
    const base = name.slice(0, -'.weight'.length);
    packed.set(`${base}.weight_packed`, made.packed);
    packed.set(`${base}.weight_scale`, made.scale);
    packed.set(`${base}.weight_shape`, made.shape);
    plain.set(name, made.dequantized);
  }
  writeTensors(path.join(folders.int4, 'model.safetensors'), packed);
  writeTensors(path.join(folders.dequantized, 'model.safetensors'), plain);
  editJson(path.join(folders.int4, 'config.json'), (config) => {
    config.quantization_config = {
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      config_groups: {
        group_0: { targets: ['Linear'], weights: schemeOf(4, groupSize) },
        ...(head === 'int8' ? { group_1: { targets: ['re:.*lm_head'], weights: schemeOf(8, groupSize) } } : {}),
      },
      ignore: ['re:.*vision_model.*', 'multi_modal_projector', ...(head === 'float' ? ['re:.*lm_head'] : [])],
    };
  });
  return folders;
}

function schemeOf(bits: number, groupSize: number | 'channel') {
  const grouping =
    groupSize === 'channel' ? { strategy: 'channel', group_size: null } : { strategy: 'group', group_size: groupSize };
  return { num_bits: bits, type: 'int', symmetric: true, ...grouping };
}

function quantize({ shape, data }: RawTensor, groupSize: number, bits: 4 | 8) {
  const [rows, columns] = shape as [number, number];
  const values = new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
  const [half, perWord] = [2 ** (bits - 1), 32 / bits];
  const packed = new Uint32Array((rows * columns) / perWord);
  const scale = new Float32Array((rows * columns) / groupSize);
  const dequantized = new Float32Array(values.length);
  for (let group = 0; group < scale.length; group++) {
    const start = group * groupSize;
    let largest = 0;
    for (let i = start; i < start + groupSize; i++) largest = Math.max(largest, Math.abs(values[i]!));
    scale[group] = largest === 0 ? 1 : largest / (half - 1);
    for (let i = start; i < start + groupSize; i++) {
      const q = Math.max(-half, Math.min(half - 1, Math.round(values[i]! / scale[group]!)));
      dequantized[i] = q * scale[group]!;
      packed[Math.floor(i / perWord)]! |= (q + half) << (bits * (i % perWord));
    }
  }
  const tensor = (dtype: string, of: number[], array: ArrayBufferView): RawTensor => {
    return { dtype, shape: of, data: Buffer.from(array.buffer, array.byteOffset, array.byteLength) };
  };
  return {
    packed: tensor('I32', [rows, columns / perWord], packed),
    scale: tensor('F32', [rows, columns / groupSize], scale),
    shape: tensor('I64', [2], BigInt64Array.of(BigInt(rows), BigInt(columns))),
    dequantized: tensor('F32', [rows, columns], dequantized),
  };
}
