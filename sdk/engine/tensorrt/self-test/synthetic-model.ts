/**
 * The model of the self-test: made by formula, on the device, in a moment. Small, but its int4 products have groups of
 * 128, its heads 128 channels and its vision heads 80, as the published models have, so the kernels that run are theirs.
 */
import { createHash } from 'node:crypto';
import { mkdir, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { MllamaArchitecture, TensorDtype, TensorLocation } from '../../../architecture/architecture.js';
import { supportedAspectRatios } from '../../../checkpoint/config.js';
import { expectedTensors } from '../../../checkpoint/expected-tensors.js';
import { createRandom, type RandomSource } from '../../../core/random.js';
import { bfloat16Bits, float16Bits } from '../../../graph/tensorrt/index.js';
import type { EngineCheckpoint } from '../../options.js';

/** Raise when the formula, the scenario or the recorded values change. */
export const SELF_TEST_VERSION = 2;

const GROUP = 128;
/** What copies to a device like it; mapped pages do too. */
const ALIGNMENT = 256;

export const SELF_TEST_ARCHITECTURE: MllamaArchitecture = {
  imageTokenId: 128,
  vision: {
    tileSize: 28,
    patchSize: 14,
    maxNumTiles: 4,
    hiddenSize: 160,
    attentionHeads: 2,
    intermediateSize: 320,
    localLayers: 2,
    globalLayers: 1,
    intermediateLayersIndices: [1],
    normEps: 1e-5,
    outputDim: 320,
    supportedAspectRatios: supportedAspectRatios(4),
  },
  text: {
    hiddenSize: 512,
    layers: 4,
    crossAttentionLayers: [1, 3],
    attentionHeads: 4,
    keyValueHeads: 2,
    headDim: 128,
    intermediateSize: 640,
    rmsNormEps: 1e-5,
    ropeTheta: 500_000,
    ropeScaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 8192 },
    vocabularySize: 128,
    embeddingRows: 136,
    maxPositionEmbeddings: 131_072,
  },
};

/**
 * One local and one global layer of the published vision tower at its own size: kernels of other tile sizes than those
 * that the small model meets, and errors of theirs that only come with thousands of tokens. Its decoder is not opened.
 */
export const WIDE_VISION_ARCHITECTURE: MllamaArchitecture = {
  ...SELF_TEST_ARCHITECTURE,
  vision: {
    ...SELF_TEST_ARCHITECTURE.vision,
    tileSize: 560,
    maxNumTiles: 2,
    hiddenSize: 1280,
    attentionHeads: 16,
    intermediateSize: 5120,
    localLayers: 1,
    globalLayers: 1,
    intermediateLayersIndices: [0],
    outputDim: 2560,
    supportedAspectRatios: supportedAspectRatios(2),
  },
  text: { ...SELF_TEST_ARCHITECTURE.text, layers: 2, crossAttentionLayers: [1] },
};

/** Random numbers of one tensor; a larger one repeats them, in other places of its rows since the count is prime. */
const DIFFERENT_VALUES = 1_048_583;

interface SyntheticTensor {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Writes `weights.bin` into the folder, unless it is there, and describes what lies where in it. */
export async function makeSyntheticModel(
  folder: string,
  architecture: MllamaArchitecture = SELF_TEST_ARCHITECTURE,
): Promise<EngineCheckpoint> {
  const tensors = syntheticTensors(architecture);
  const file = path.join(folder, 'weights.bin');
  const places = new Map<string, TensorLocation>();
  let end = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    const offsetBytes = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    places.set(name, { file, offsetBytes, sizeBytes: bytes.byteLength, dtype, shape });
    end = offsetBytes + bytes.byteLength;
  }
  const content = new Uint8Array(end);
  for (const { name, bytes } of tensors) content.set(bytes, places.get(name)!.offsetBytes);
  const there = await stat(file).catch(() => undefined);
  if (there?.size !== end) {
    await mkdir(folder, { recursive: true });
    const draft = `${file}.${process.pid}.partial`;
    await writeFile(draft, content);
    await rename(draft, file);
  }
  const hash = createHash('sha256').update(content).digest('hex');
  return {
    directory: folder,
    name: 'self-test',
    model: { architecture, tensors: places, int4: { bits: 4, groupSize: GROUP } },
    contentHash: async () => hash,
  };
}

function syntheticTensors(architecture: MllamaArchitecture): SyntheticTensor[] {
  return expectedTensors(architecture).flatMap(({ name, shape, quantizable }) => {
    const random = createRandom(fnv1a(name));
    // The last layer is in 16 bits, as the quantiser leaves it unless told otherwise.
    if (quantizable && !name.startsWith('language_model.lm_head')) return packedLinear(name, shape, random);
    return [floatTensor(name, shape, random)];
  });
}

/**
 * Eight int4 values to a word. −8 comes in every sixteenth word only: as often as the others it would pull all weights
 * to one side, and one direction would drown the rest. The scale makes rows of a product about as large as its inputs.
 */
function packedLinear(name: string, shape: readonly number[], random: RandomSource): SyntheticTensor[] {
  const [rows, columns] = shape as [number, number];
  const packed = Uint32Array.from({ length: (rows * columns) / 8 }, (_, word) => {
    const lowest = word % 16 === 0 ? 0 : 1;
    let bits = 0;
    for (let i = 0; i < 8; i++) bits = bits * 16 + lowest + Math.floor(random() * (16 - lowest));
    return bits;
  });
  const scale = Uint16Array.from({ length: (rows * columns) / GROUP }, () =>
    float16Bits((0.15 + 0.1 * random()) / Math.sqrt(columns)),
  );
  const sizes = BigInt64Array.of(BigInt(rows), BigInt(columns));
  return [
    { name: `${name}_packed`, dtype: 'I32', shape: [rows, columns / 8], bytes: bytesOf(packed) },
    { name: `${name}_scale`, dtype: 'F16', shape: [rows, columns / GROUP], bytes: bytesOf(scale) },
    { name: `${name}_shape`, dtype: 'I64', shape: [2], bytes: bytesOf(sizes) },
  ];
}

function floatTensor(name: string, shape: readonly number[], random: RandomSource): SyntheticTensor {
  const count = shape.reduce((product, side) => product * side, 1);
  const [centre, spread] = distribution(name, shape);
  const values = new Uint16Array(count);
  const different = Math.min(count, DIFFERENT_VALUES);
  for (let i = 0; i < different; i++) values[i] = bfloat16Bits(centre + spread * (2 * random() - 1));
  for (let done = different; done < count; done += different) {
    values.copyWithin(done, 0, Math.min(different, count - done));
  }
  return { name, dtype: 'BF16', shape, bytes: bytesOf(values) };
}

function distribution(name: string, shape: readonly number[]): readonly [centre: number, spread: number] {
  if (/(gate|gate_attn|gate_ffn)$/.test(name)) return [0.5, 0.25];
  if (name.includes('norm') && name.endsWith('weight')) return [1, 0.1];
  if (name.includes('embed') || name.endsWith('bias')) return [0, name.includes('embed_tokens') ? 1 : 0.25];
  // Uniform in ±√3/√n has the deviation 1/√n.
  const inputs = shape.slice(1).reduce((product, side) => product * side, 1);
  return [0, Math.sqrt(3 / inputs)];
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** A seed from a tensor's name. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
