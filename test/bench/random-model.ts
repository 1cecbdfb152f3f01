/** Random int4 weights in the quantised format, streamed to disk once per shape and group size. */
import { randomFillSync } from 'node:crypto';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import type { MllamaArchitecture, ModelDescription, TensorDtype, TensorLocation } from '#graph/architecture.js';
import { expectedTensors } from '#sdk/checkpoint/expected-tensors.js';
import { readSafetensorsHeader } from '#sdk/checkpoint/index.js';
import { architectureOf, type ShapeName } from './shapes.js';

const CHUNK_BYTES = 32 * 2 ** 20;

interface Planned {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  /** Sets the bytes of a chunk, which is random already. */
  readonly shapeValues: (chunk: Buffer) => void;
}

const keep = () => {};
/** bfloat16 in [2^exponent, 2^(exponent + 1)), random sign or positive. */
const bfloat16 = (exponent: number, signed: boolean) => (chunk: Buffer) => {
  const values = new Uint16Array(chunk.buffer, chunk.byteOffset, chunk.byteLength >> 1);
  const bits = (127 + exponent) << 7;
  for (let i = 0; i < values.length; i += 1) values[i] = bits | (values[i]! & (signed ? 0x807f : 0x7f));
};

function plan(shape: ShapeName, groupSize: number): Planned[] {
  const list: Planned[] = [];
  for (const { name, shape: sides, quantizable } of expectedTensors(architectureOf(shape))) {
    if (!name.startsWith('language_model.')) continue;
    if (!quantizable) {
      list.push({ name, dtype: 'BF16', shape: sides, shapeValues: bfloat16(-1, name.includes('embed')) });
      continue;
    }
    const [rows, columns] = sides as [number, number];
    // Uniform int4 has deviation 4.6: outputs keep about the size of the inputs.
    const exponent = Math.floor(Math.log2(1 / (4.6 * Math.sqrt(columns))));
    list.push({ name: `${name}_packed`, dtype: 'I32', shape: [rows, columns / 8], shapeValues: keep });
    list.push({
      name: `${name}_scale`,
      dtype: 'BF16',
      shape: [rows, columns / groupSize],
      shapeValues: bfloat16(exponent, false),
    });
  }
  return list;
}

const SIZES: Partial<Record<TensorDtype, number>> = { BF16: 2, I32: 4 };
const sizeOf = ({ dtype, shape }: Planned) => shape.reduce((a, b) => a * b, 1) * SIZES[dtype]!;

export async function randomModel(directory: string, shape: ShapeName, groupSize: number): Promise<ModelDescription> {
  mkdirSync(directory, { recursive: true });
  const file = path.join(directory, `random-${shape}-g${groupSize}.safetensors`);
  if (!existsSync(file)) await write(file, plan(shape, groupSize));
  return { architecture: architectureOf(shape), tensors: await locate(file), int4: { bits: 4, groupSize } };
}

/** The vision tower in bfloat16, as published: its tile embeddings are 0. */
export async function randomVisionModel(
  directory: string,
  architecture: MllamaArchitecture,
): Promise<ModelDescription> {
  mkdirSync(directory, { recursive: true });
  const file = path.join(directory, `random-vision-${architecture.vision.localLayers}.safetensors`);
  const zeros = (chunk: Buffer) => void chunk.fill(0);
  const planned = expectedTensors(architecture).map(({ name, shape }): Planned => {
    const isTable = /(tile_embedding|positional_embedding\.embedding)\.weight$/.test(name);
    const isScale = name.includes('norm') && name.endsWith('weight');
    // Outputs keep about the size of the inputs.
    const exponent = isScale || shape.length < 2 ? -1 : Math.floor(Math.log2(1 / Math.sqrt(shape.at(-1)!)));
    return { name, dtype: 'BF16', shape, shapeValues: isTable ? zeros : bfloat16(exponent, !isScale) };
  });
  if (!existsSync(file)) await write(file, planned);
  return { architecture, tensors: await locate(file), int4: null };
}

async function locate(file: string): Promise<ReadonlyMap<string, TensorLocation>> {
  const header = await readSafetensorsHeader(file);
  const tensors = new Map<string, TensorLocation>();
  for (const { name, dtype, shape: sides, offsetBytes, sizeBytes } of header.entries) {
    tensors.set(name, { file: header.path, offsetBytes, sizeBytes, dtype: dtype as TensorDtype, shape: sides });
  }
  return tensors;
}

async function write(file: string, tensors: readonly Planned[]): Promise<void> {
  const header: Record<string, unknown> = {};
  let offset = 0;
  for (const tensor of tensors) {
    const end = offset + sizeOf(tensor);
    header[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));

  const handle = await open(`${file}.partial`, 'w');
  const chunk = Buffer.alloc(CHUNK_BYTES);
  try {
    await handle.write(Buffer.concat([length, padded]));
    for (const tensor of tensors) {
      const total = sizeOf(tensor);
      for (let done = 0; done < total; done += CHUNK_BYTES) {
        const piece = chunk.subarray(0, Math.min(CHUNK_BYTES, total - done));
        randomFillSync(piece);
        tensor.shapeValues(piece);
        await handle.write(piece);
      }
    }
  } finally {
    await handle.close();
  }
  renameSync(`${file}.partial`, file);
}
