/** Golden folders as `test/fixtures/golden/README.md` lays them out: what is there is found, nothing is assumed. */
import { open, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { readSafetensorsHeader } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';

export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}
export type GoldenTensors = ReadonlyMap<string, GoldenTensor>;

const VIEWS = {
  F32: (buffer: ArrayBuffer) => new Float32Array(buffer),
  I32: (buffer: ArrayBuffer) => new Int32Array(buffer),
  I64: (buffer: ArrayBuffer) => Int32Array.from(new BigInt64Array(buffer), Number),
  U8: (buffer: ArrayBuffer) => new Uint8Array(buffer),
} as const;

/** Tensors of another type than F32, I32, I64 and U8 are left out. */
export async function readGoldenTensors(file: string): Promise<GoldenTensors> {
  const { entries } = await readSafetensorsHeader(file);
  const tensors = new Map<string, GoldenTensor>();
  await using handle = await disposable(file);
  for (const { name, dtype, shape, offsetBytes, sizeBytes } of entries) {
    if (!(dtype in VIEWS)) continue;
    const bytes = new Uint8Array(sizeBytes);
    await handle.file.read(bytes, 0, sizeBytes, offsetBytes);
    tensors.set(name, { shape, data: VIEWS[dtype as keyof typeof VIEWS](bytes.buffer) });
  }
  return tensors;
}

async function disposable(file: string) {
  const handle = await open(file, 'r');
  return { file: handle, [Symbol.asyncDispose]: () => handle.close() };
}

/** @throws SdkError ERR_ARGUMENT_INVALID when it is missing */
export function required(tensors: GoldenTensors, name: string, file: string): GoldenTensor {
  const tensor = tensors.get(name);
  if (tensor !== undefined) return tensor;
  throw new SdkError('ERR_ARGUMENT_INVALID', `Expected tensor ${name} in ${file}, but it is missing.`);
}

export function floats(tensors: GoldenTensors, name: string): Float32Array | undefined {
  const data = tensors.get(name)?.data;
  return data instanceof Float32Array ? data : undefined;
}

export function integers(tensors: GoldenTensors, name: string): Int32Array | undefined {
  const data = tensors.get(name)?.data;
  return data instanceof Int32Array ? data : undefined;
}

/** A picture of the reference: a PNG beside the case, or a formula (`png: null`). */
export const goldenImageSchema = z.looseObject({
  width: z.int().min(1),
  height: z.int().min(1),
  kind: z.string().optional(),
  seed: z.int().default(0),
  png: z.string().nullish(),
  sha256_rgb: z.string().optional(),
});
export type GoldenImage = z.infer<typeof goldenImageSchema>;

export const processorFileSchema = z.looseObject({
  tile_size: z.int().min(1),
  max_image_tiles: z.int().min(1),
  image_mean: z.tuple([z.number(), z.number(), z.number()]),
  image_std: z.tuple([z.number(), z.number(), z.number()]),
  rescale_factor: z.number(),
  supported_aspect_ratios_h_w: z.array(z.tuple([z.int(), z.int()])),
  cases: z.record(
    z.string(),
    goldenImageSchema.extend({
      num_tiles: z.int(),
      aspect_ratio_id: z.int(),
      resized_h_w: z.tuple([z.int(), z.int()]).optional(),
      canvas_h_w: z.tuple([z.int(), z.int()]).optional(),
    }),
  ),
});

export const visionFileSchema = z.looseObject({
  cases: z.record(z.string(), z.looseObject({ image: goldenImageSchema.optional() })).default({}),
});

/** Images of one prompt, or of each prompt of a batch. */
export const caseFileSchema = z.looseObject({
  images: z.union([z.array(goldenImageSchema), z.array(z.array(goldenImageSchema))]).default([]),
});

export const ropeFileSchema = z.record(
  z.string(),
  z.looseObject({
    head_dim: z.int(),
    rope_theta: z.number(),
    rope_scaling: z.looseObject({
      factor: z.number(),
      low_freq_factor: z.number(),
      high_freq_factor: z.number(),
      original_max_position_embeddings: z.number(),
    }),
    inv_freq: z.array(z.number()),
    inv_freq_without_scaling: z.array(z.number()).optional(),
  }),
);

/** @returns undefined when there is no such file. */
export async function readGoldenJson<T>(file: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected JSON in ${file}: ${(cause as Error).message}`, { cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new SdkError('ERR_ARGUMENT_INVALID', `${file} is not laid out as expected:\n${z.prettifyError(parsed.error)}`);
}

export interface GoldenFolder {
  readonly directory: string;
  /** Names of `case_<name>.safetensors`, sorted. */
  readonly cases: readonly string[];
  readonly vision: boolean;
  /** Paths without ending of `processor_<tile>.json` and `.safetensors`. */
  readonly processors: readonly string[];
  /** Path of `rope.json`. */
  readonly rope: string | undefined;
}

/**
 * `directory` is a folder of cases, or one that holds `cases-<checkpoint name>`. Processor data and `rope.json` may lie
 * in it, in its `processor/`, or beside it.
 */
export async function findGoldenFolder(directory: string, checkpointName: string): Promise<GoldenFolder> {
  const info = await stat(directory).catch(() => undefined);
  if (info === undefined || !info.isDirectory()) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a folder of golden cases at ${directory}, but there is none.`);
  }
  const nested = path.join(directory, `cases-${checkpointName}`);
  const root = (await list(nested)).length > 0 ? nested : directory;
  const names = await list(root);
  const cases = names
    .map((name) => /^case_(.+)\.safetensors$/.exec(name)?.[1])
    .filter((name) => name !== undefined)
    .sort();
  const vision = names.includes('vision.safetensors');

  const processors: string[] = [];
  let rope: string | undefined;
  for (const folder of [root, path.dirname(root)]) {
    for (const place of [folder, path.join(folder, 'processor')]) {
      for (const name of await list(place)) {
        const match = /^(processor_\d+)\.json$/.exec(name);
        if (match !== null) processors.push(path.join(place, match[1]!));
      }
    }
    if ((await list(folder)).includes('rope.json')) rope ??= path.join(folder, 'rope.json');
  }
  if (cases.length === 0 && !vision && processors.length === 0) {
    const expected = 'case_*.safetensors, vision.safetensors or processor_*.json';
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected golden cases (${expected}) in ${root}, but found none.`);
  }
  return { directory: root, cases, vision, processors, rope };
}

async function list(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => []);
}
