/**
 * Writes a Llama text decoder of random Q4_0 weights as a GGUF file, a bounded piece at a time: the same sizes as the
 * product's own random model, for llama.cpp. The vocabulary is made up: tokens are numbers, but loading wants words.
 */
import { randomFillSync } from 'node:crypto';
import { existsSync, renameSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { TextArchitecture } from '#sdk/architecture/architecture.js';

const ALIGNMENT = 32;
/** Numbers of a Q4_0 block, and its bytes: a float16 scale and 16 bytes of nibbles. */
const [BLOCK, BLOCK_BYTES] = [32, 18];
const CHUNK_BLOCKS = 1 << 20;

const TENSOR_TYPES = { F32: 0, Q4_0: 2 } as const;
const VALUE_TYPES = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 } as const;
/** Of tokens in a SentencePiece vocabulary. */
const [NORMAL, UNKNOWN, CONTROL, BYTE] = [1, 2, 3, 6];

interface GgufTensor {
  readonly name: string;
  readonly type: keyof typeof TENSOR_TYPES;
  /** Outputs before inputs; the file has it the other way round. */
  readonly shape: readonly number[];
}

/** @param file made only when it is not there */
export async function writeRandomGguf(file: string, text: TextArchitecture, contextLength: number): Promise<void> {
  if (existsSync(file)) return;
  const tensors = tensorsOf(text);
  const handle = await open(`${file}.partial`, 'w');
  try {
    await handle.write(header(tensors, text, contextLength));
    for (const tensor of tensors) {
      await (tensor.type === 'F32' ? writeOnes(handle, tensor) : writeBlocks(handle, tensor));
      const padding = padded(tensorBytes(tensor)) - tensorBytes(tensor);
      if (padding > 0) await handle.write(Buffer.alloc(padding));
    }
  } finally {
    await handle.close();
  }
  renameSync(`${file}.partial`, file);
}

/** Bytes of weights that one decoded token reads. */
export function q4Bytes(text: TextArchitecture): number {
  return tensorsOf(text)
    .filter(({ name, type }) => type === 'Q4_0' && name !== 'token_embd.weight')
    .reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
}

function tensorsOf(text: TextArchitecture): GgufTensor[] {
  const { hiddenSize: hidden, intermediateSize: inner, vocabularySize: vocabulary } = text;
  const keyValue = text.keyValueHeads * text.headDim;
  const product = (name: string, outputs: number, inputs: number): GgufTensor => {
    return { name: `${name}.weight`, type: 'Q4_0', shape: [outputs, inputs] };
  };
  const norm = (name: string): GgufTensor => ({ name: `${name}.weight`, type: 'F32', shape: [hidden] });
  const layers = Array.from({ length: text.layers }, (_, i) => [
    norm(`blk.${i}.attn_norm`),
    product(`blk.${i}.attn_q`, hidden, hidden),
    product(`blk.${i}.attn_k`, keyValue, hidden),
    product(`blk.${i}.attn_v`, keyValue, hidden),
    product(`blk.${i}.attn_output`, hidden, hidden),
    norm(`blk.${i}.ffn_norm`),
    product(`blk.${i}.ffn_gate`, inner, hidden),
    product(`blk.${i}.ffn_up`, inner, hidden),
    product(`blk.${i}.ffn_down`, hidden, inner),
  ]);
  const [embedding, head] = [product('token_embd', vocabulary, hidden), product('output', vocabulary, hidden)];
  return [embedding, ...layers.flat(), norm('output_norm'), head];
}

const count = ({ shape }: GgufTensor) => shape.reduce((product, side) => product * side, 1);
const padded = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

function tensorBytes(tensor: GgufTensor): number {
  return tensor.type === 'F32' ? count(tensor) * 4 : (count(tensor) / BLOCK) * BLOCK_BYTES;
}

function header(tensors: readonly GgufTensor[], text: TextArchitecture, contextLength: number): Buffer {
  const values: readonly (readonly [string, keyof typeof VALUE_TYPES, string | number])[] = [
    ['general.architecture', 'string', 'llama'],
    ['general.name', 'string', 'random'],
    ['general.alignment', 'uint32', ALIGNMENT],
    ['general.file_type', 'uint32', TENSOR_TYPES.Q4_0],
    ['general.quantization_version', 'uint32', 2],
    ['llama.context_length', 'uint32', contextLength],
    ['llama.embedding_length', 'uint32', text.hiddenSize],
    ['llama.block_count', 'uint32', text.layers],
    ['llama.feed_forward_length', 'uint32', text.intermediateSize],
    ['llama.attention.head_count', 'uint32', text.attentionHeads],
    ['llama.attention.head_count_kv', 'uint32', text.keyValueHeads],
    ['llama.attention.layer_norm_rms_epsilon', 'float32', text.rmsNormEps],
    ['llama.rope.dimension_count', 'uint32', text.headDim],
    ['llama.rope.freq_base', 'float32', text.ropeTheta],
    ['llama.vocab_size', 'uint32', text.vocabularySize],
    ['tokenizer.ggml.model', 'string', 'llama'],
  ];
  const lists = vocabulary(text.vocabularySize);
  const parts: Buffer[] = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(values.length + lists.length)];
  for (const [key, type, value] of values) {
    parts.push(textBytes(key), u32(VALUE_TYPES[type]));
    parts.push(
      type === 'string' ? textBytes(value as string) : type === 'uint32' ? u32(value as number) : f32(value as number),
    );
  }
  for (const { key, type, values: items } of lists) {
    parts.push(textBytes(key), u32(VALUE_TYPES.array), u32(VALUE_TYPES[type]), u64(items.length), Buffer.concat(items));
  }
  let offset = 0;
  for (const tensor of tensors) {
    const sides = [...tensor.shape].reverse();
    parts.push(
      textBytes(tensor.name),
      u32(sides.length),
      ...sides.map(u64),
      u32(TENSOR_TYPES[tensor.type]),
      u64(offset),
    );
    offset += padded(tensorBytes(tensor));
  }
  const bytes = Buffer.concat(parts);
  return Buffer.concat([bytes, Buffer.alloc(padded(bytes.length) - bytes.length)]);
}

interface GgufList {
  readonly key: string;
  readonly type: keyof typeof VALUE_TYPES;
  readonly values: readonly Buffer[];
}

/** `<unk>`, `<s>`, `</s>`, the 256 bytes, and words without a meaning. */
function vocabulary(size: number): GgufList[] {
  const special = ['<unk>', '<s>', '</s>'];
  const words = Array.from({ length: size }, (_, i) => {
    const byte = i - special.length;
    if (byte < 256) return special[i] ?? `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    return `word${i}`;
  });
  const types = words.map((word, i) => (i === 0 ? UNKNOWN : i < 3 ? CONTROL : word.startsWith('<') ? BYTE : NORMAL)!);
  const list = (name: string, type: GgufList['type'], values: readonly Buffer[]): GgufList => {
    return { key: `tokenizer.ggml.${name}`, type, values };
  };
  return [
    list('tokens', 'string', words.map(textBytes)),
    list(
      'scores',
      'float32',
      words.map(() => f32(0)),
    ),
    list('token_type', 'int32', types.map(u32)),
  ];
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function textBytes(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
}

async function writeOnes(handle: FileHandle, tensor: GgufTensor): Promise<void> {
  const values = new Float32Array(count(tensor)).fill(1);
  await handle.write(Buffer.from(values.buffer));
}

async function writeBlocks(handle: FileHandle, tensor: GgufTensor): Promise<void> {
  // Uniform nibbles have deviation 4.6: outputs keep about the size of the inputs.
  const exponent = Math.floor(Math.log2(1 / (4.6 * Math.sqrt(tensor.shape[1]!))));
  const bits = (15 + exponent) << 10;
  const chunk = Buffer.alloc(CHUNK_BLOCKS * BLOCK_BYTES);
  const blocks = count(tensor) / BLOCK;
  for (let done = 0; done < blocks; done += CHUNK_BLOCKS) {
    const piece = chunk.subarray(0, Math.min(CHUNK_BLOCKS, blocks - done) * BLOCK_BYTES);
    randomFillSync(piece);
    for (let at = 0; at < piece.length; at += BLOCK_BYTES) {
      piece.writeUInt16LE(bits | (piece.readUInt16LE(at) & 0x3ff), at);
    }
    await handle.write(piece);
  }
}
