/** Random weights of published sizes, streamed to disk once: quantised, or in bfloat16 to be quantised. */
import { randomFillSync } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { quantizationConfig } from '#calibration/quantize/plan.js';
import type {
  MllamaArchitecture,
  ModelDescription,
  TensorDtype,
  TensorLocation,
} from '#sdk/architecture/architecture.js';
import { configSchema, architectureOf as readArchitecture } from '#sdk/checkpoint/config.js';
import { expectedTensors } from '#sdk/checkpoint/expected-tensors.js';
import { readSafetensorsHeader } from '#sdk/checkpoint/index.js';
import { packageRoot } from '#sdk/native/index.js';
import { architectureOf, type ShapeName, WHOLE_PROCESSOR, wholeConfig } from './shapes.js';

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

/** Text linears packed in 4 bits, lm_head in `headBits`; everything else in bfloat16. */
function planQuantized(architecture: MllamaArchitecture, groupSize: number, headBits: 4 | 8): Planned[] {
  return expectedTensors(architecture).flatMap(({ name, shape, quantizable }) => {
    if (!quantizable) return [planFloat(name, shape)];
    const [rows, columns] = shape as [number, number];
    const bits = name.includes('lm_head') ? headBits : 4;
    // Uniform int4 has deviation 4.6, int8 74: outputs keep about the size of the inputs.
    const exponent = Math.floor(Math.log2(1 / ((bits === 4 ? 4.6 : 74) * Math.sqrt(columns))));
    const scales = bfloat16(exponent, false);
    const stated = (chunk: Buffer) => {
      chunk.writeBigInt64LE(BigInt(rows), 0);
      chunk.writeBigInt64LE(BigInt(columns), 8);
    };
    return [
      { name: `${name}_packed`, dtype: 'I32', shape: [rows, (columns * bits) / 32], shapeValues: keep },
      { name: `${name}_scale`, dtype: 'BF16', shape: [rows, columns / groupSize], shapeValues: scales },
      { name: `${name}_shape`, dtype: 'I64', shape: [2], shapeValues: stated },
    ];
  });
}

/** In bfloat16; tile embeddings are 0, as they are published. */
function planFloat(name: string, shape: readonly number[]): Planned {
  const isTable = /(tile_embedding|positional_embedding\.embedding)\.weight$/.test(name);
  const isScale = name.includes('norm') && name.endsWith('weight');
  // Outputs keep about the size of the inputs.
  const small = isScale || shape.length < 2 || name.includes('embed_tokens');
  const exponent = small ? -1 : Math.floor(Math.log2(1 / Math.sqrt(shape.at(-1)!)));
  const zeros = (chunk: Buffer) => void chunk.fill(0);
  return { name, dtype: 'BF16', shape, shapeValues: isTable ? zeros : bfloat16(exponent, !isScale) };
}

const SIZES: Partial<Record<TensorDtype, number>> = { BF16: 2, I32: 4, I64: 8 };
const sizeOf = ({ dtype, shape }: Planned) => shape.reduce((a, b) => a * b, 1) * SIZES[dtype]!;

/** The text decoder of a published shape alone. @param layers default: all */
export async function randomModel(
  directory: string,
  shape: ShapeName,
  groupSize: number,
  layers?: number | undefined,
): Promise<ModelDescription> {
  mkdirSync(directory, { recursive: true });
  const part = layers === undefined ? '' : `-${layers}-layers`;
  const file = path.join(directory, `random-${shape}${part}-g${groupSize}.safetensors`);
  const whole = architectureOf(shape);
  const architecture = { ...whole, text: { ...whole.text, layers: layers ?? whole.text.layers } };
  const planned = planText(architecture, groupSize);
  if (!existsSync(file)) await write(file, planned);
  return { architecture, tensors: await locate(file), int4: { bits: 4, groupSize } };
}

function planText(architecture: MllamaArchitecture, groupSize: number): Planned[] {
  return planQuantized(architecture, groupSize, 4).filter(({ name }) => name.startsWith('language_model.'));
}

/** What the weights of all its layers take. */
export function randomModelBytes(shape: ShapeName, groupSize: number): number {
  return planText(architectureOf(shape), groupSize).reduce((sum, tensor) => sum + sizeOf(tensor), 0);
}

/** The vision tower alone, with next to no text. */
export async function randomVisionModel(
  directory: string,
  architecture: MllamaArchitecture,
): Promise<ModelDescription> {
  mkdirSync(directory, { recursive: true });
  const file = path.join(directory, `random-vision-${architecture.vision.localLayers}.safetensors`);
  const planned = expectedTensors(architecture).map(({ name, shape }) => planFloat(name, shape));
  if (!existsSync(file)) await write(file, planned);
  return { architecture, tensors: await locate(file), int4: null };
}

/** A whole quantised checkpoint folder of the 11B model's sizes, lm_head in int8, for `openCheckpoint`. */
export async function randomCheckpoint(directory: string, groupSize: number): Promise<string> {
  const folder = path.join(directory, `random-11b-g${groupSize}`);
  const file = path.join(folder, 'model.safetensors');
  if (existsSync(file)) return folder;
  mkdirSync(folder, { recursive: true });
  const config = wholeConfig(quantizationConfig(groupSize, 'int8'));
  const { architecture } = readArchitecture(configSchema.parse(config));
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config));
  writeFileSync(path.join(folder, 'preprocessor_config.json'), JSON.stringify(WHOLE_PROCESSOR));
  await write(file, planQuantized(architecture, groupSize, 8));
  return folder;
}

/** Files of the demo model that say how text becomes tokens. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja'];

/**
 * A checkpoint folder in bfloat16 of the 11B model's sizes, with so many of its text layers, to be quantised. Its
 * tokenizer is the demo model's, which knows fewer tokens than the embedding has rows.
 */
export async function randomSource(directory: string, layers: number): Promise<string> {
  const folder = path.join(directory, `random-11b-${layers}-layers-bf16`);
  const file = path.join(folder, 'model.safetensors');
  if (existsSync(file)) return folder;
  mkdirSync(folder, { recursive: true });
  const demo = path.join(packageRoot(), 'examples', 'demo-model', 'checkpoint');
  for (const name of TOKENIZER_FILES) copyFileSync(path.join(demo, name), path.join(folder, name));
  const { text_config: tokens, image_token_index } = JSON.parse(readFileSync(path.join(demo, 'config.json'), 'utf8'));
  const whole = wholeConfig(undefined);
  const crossLayers = whole.text_config.cross_attention_layers.filter((layer) => layer < layers);
  const config = {
    ...whole,
    image_token_index,
    text_config: {
      ...whole.text_config,
      num_hidden_layers: layers,
      cross_attention_layers: crossLayers.length > 0 ? crossLayers : [layers - 1],
      bos_token_id: tokens.bos_token_id,
      pad_token_id: tokens.pad_token_id,
      eos_token_id: tokens.eos_token_id,
    },
  };
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config));
  writeFileSync(path.join(folder, 'preprocessor_config.json'), JSON.stringify(WHOLE_PROCESSOR));
  const { architecture } = readArchitecture(configSchema.parse(config));
  await write(
    file,
    expectedTensors(architecture).map(({ name, shape }) => planFloat(name, shape)),
  );
  return folder;
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
