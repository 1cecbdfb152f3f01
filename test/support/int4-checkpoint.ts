/**
 * Quantises a float32 checkpoint folder for tests, written apart from the product's own quantiser: a plain loop over
 * scalars. Two folders come out: the int4 one, and a float one with the dequantised values, which is what an exact
 * int4 engine must compute.
 */
import { cpSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { editJson, type RawTensor, readTensors, writeTensors } from '../unit/checkpoint/checkpoint-folder.js';

const LINEAR = /^language_model\.model\.layers\.\d+\.(self_attn|cross_attn|mlp)\.\w+_proj\.weight$/;

export interface Int4Folders {
  readonly int4: string;
  readonly dequantized: string;
}

export function makeInt4Checkpoint(source: string, target: string, groupSize: number): Int4Folders {
  const folders = { int4: path.join(target, 'int4'), dequantized: path.join(target, 'dequantized') };
  for (const folder of Object.values(folders)) {
    cpSync(source, folder, { recursive: true });
    for (const file of readdirSync(folder)) if (file.endsWith('.safetensors')) rmSync(path.join(folder, file));
  }
  const packed = new Map<string, RawTensor>();
  const plain = new Map<string, RawTensor>();
  for (const [name, tensor] of readTensors(path.join(source, 'model.safetensors'))) {
    if (!LINEAR.test(name)) {
      packed.set(name, tensor);
      plain.set(name, tensor);
      continue;
    }
    const made = quantize(tensor, groupSize);
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
        group_0: {
          targets: ['Linear'],
          weights: { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: groupSize },
        },
      },
      ignore: ['re:.*vision_model.*', 'multi_modal_projector', 're:.*lm_head'],
    };
  });
  return folders;
}

function quantize({ shape, data }: RawTensor, groupSize: number) {
  const [rows, columns] = shape as [number, number];
  const values = new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
  const packed = new Uint32Array((rows * columns) / 8);
  const scale = new Float32Array((rows * columns) / groupSize);
  const dequantized = new Float32Array(values.length);
  for (let group = 0; group < scale.length; group++) {
    const start = group * groupSize;
    let largest = 0;
    for (let i = start; i < start + groupSize; i++) largest = Math.max(largest, Math.abs(values[i]!));
    scale[group] = largest === 0 ? 1 : largest / 7;
    for (let i = start; i < start + groupSize; i++) {
      const q = Math.max(-8, Math.min(7, Math.round(values[i]! / scale[group]!)));
      dequantized[i] = q * scale[group]!;
      packed[i >> 3]! |= (q + 8) << (4 * (i & 7));
    }
  }
  const tensor = (dtype: string, of: number[], array: ArrayBufferView): RawTensor => {
    return { dtype, shape: of, data: Buffer.from(array.buffer, array.byteOffset, array.byteLength) };
  };
  return {
    packed: tensor('I32', [rows, columns / 8], packed),
    scale: tensor('F32', [rows, columns / groupSize], scale),
    shape: tensor('I64', [2], BigInt64Array.of(BigInt(rows), BigInt(columns))),
    dequantized: tensor('F32', [rows, columns], dequantized),
  };
}
