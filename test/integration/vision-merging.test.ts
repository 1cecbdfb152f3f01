/**
 * Tokens of the vision tower that are copies are computed once: the same features as every token gives, on checkpoints
 * that allow it, and every token on those that do not.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { createRandom } from '#sdk/core/random.js';
import type { Numerics } from '#sdk/engine/engine.js';
import { openCpuEngine, openOnnxEngine } from '#sdk/engine/index.js';
import type { EngineCheckpoint, OpenEngineOptions } from '#sdk/engine/options.js';
import { mergeableFrom } from '#sdk/engine/shared/tile-tables.js';
import { chooseVisionTokens } from '#sdk/engine/shared/vision-inputs.js';
import { openVisionTower } from '#sdk/engine/vision/vision-tower.js';
import { createImageProcessor } from '#sdk/image/index.js';
import type { ProcessedImage } from '#sdk/image/processed-image.js';
import { maxDifference, syntheticImage } from '../support/tiny-images.js';
import { editTensors, GOLDEN, type RawTensor } from '../unit/checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-merging-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const shared = { cacheDirectory: path.join(folder, 'cache'), contextLength: 64, threads: 1 };
const tinyA = path.join(GOLDEN, 'tiny-a');
const demoModel = fileURLToPath(new URL('../../examples/demo-model/checkpoint', import.meta.url));

const TABLES = [
  'vision_model.pre_tile_positional_embedding.embedding.weight',
  'vision_model.gated_positional_embedding.tile_embedding.weight',
  'vision_model.post_tile_positional_embedding.embedding.weight',
];
const SLOTS = 4;
/** Used tiles by aspect ratio id, from 1 on. */
const TILES = [1, 2, 3, 4, 2, 4, 3, 4];
const PUBLISHED = [4, ...TILES];

/** tiny-a with other tile embeddings in the slots that an arrangement leaves unused. */
function derive(name: string, edit: (slot: Buffer, firstUnused: Buffer, table: string) => void): string {
  const directory = path.join(folder, name);
  cpSync(tinyA, directory, { recursive: true });
  editTensors(path.join(directory, 'model.safetensors'), (tensors) => {
    for (const table of TABLES) editUnused(tensors.get(table)!, (slot, first) => edit(slot, first, table));
  });
  return directory;
}

function editUnused({ data, shape }: RawTensor, edit: (slot: Buffer, firstUnused: Buffer) => void): void {
  const slotBytes = data.length / shape[0]! / SLOTS;
  const slotOf = (id: number, slot: number) => data.subarray((id * SLOTS + slot) * slotBytes).subarray(0, slotBytes);
  TILES.forEach((used, index) => {
    for (let slot = used; slot < SLOTS; slot++) edit(slotOf(index + 1, slot), slotOf(index + 1, used));
  });
}

const zeroed = derive('zeroed', (slot) => slot.fill(0));
const alike = derive('alike', (slot, first) => first.copy(slot));

/** Largest difference, as a part of the largest magnitude. */
function relative(actual: Float32Array, expected: Float32Array): number {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(largest).toBeGreaterThan(0);
  return maxDifference(actual, expected) / largest;
}

async function states(
  checkpoint: EngineCheckpoint,
  images: readonly ProcessedImage[],
  numerics: Numerics,
  vision: NonNullable<OpenEngineOptions['vision']>,
): Promise<Float32Array[]> {
  await using tower = await openVisionTower(checkpoint, { ...shared, numerics, vision });
  const made: Float32Array[] = [];
  for (const image of images) made.push(await tower.encode(image));
  return made;
}

/** The tensors inside the tower by name, image by image. */
async function tensors(
  checkpoint: EngineCheckpoint,
  images: readonly ProcessedImage[],
  vision: NonNullable<OpenEngineOptions['vision']>,
): Promise<Map<string, Float32Array>[]> {
  let seen = new Map<string, Float32Array>();
  const onTensor = (name: string, data: Float32Array) => void seen.set(name, data);
  const options = { ...shared, numerics: 'hf-4.45', vision, onTensor } as const;
  await using engine = await openOnnxEngine(checkpoint, options);
  const all: Map<string, Float32Array>[] = [];
  for (const image of images) {
    seen = new Map();
    using _state = await engine.encodeImage(image);
    all.push(seen);
  }
  return all;
}

/** Tokens that the worker computes for an image. */
function computedTokens(checkpoint: EngineCheckpoint, image: ProcessedImage): number {
  const { model } = checkpoint;
  const config = { architecture: model.architecture, mergeableFrom: mergeableFrom(model), numerics: 'meta' } as const;
  return chooseVisionTokens({ ...config, trace: false }, image).tokens.tokenPlaces.length;
}

const everyId = TILES.map((numTiles, index) => syntheticImage({ aspectRatioId: index + 1, numTiles }, index + 1));
const TOKENS = 17;
const PADDED = 24;

describe('which arrangements allow it is read from the tile tables', () => {
  test.each([
    ['zeros', zeroed, PUBLISHED],
    ['equal values', alike, PUBLISHED],
    ['values without order: only what has no second unused slot', tinyA, [4, 3, 3, 3, 4, 3, 4, 3, 4]],
    ['the demo model', demoModel, PUBLISHED],
  ])('%s', async (_, directory, expected) => {
    const checkpoint = await openCheckpoint(directory);
    expect(mergeableFrom(checkpoint.model)).toEqual(expected);
    expect(mergeableFrom(checkpoint.model, 'full')).toEqual([]);
  });

  test('zeros of both signs are equal', async () => {
    let odd = false;
    const signs = derive('signs', (slot) => {
      odd = !odd;
      for (let at = 0; at < slot.length; at += 4) slot.writeFloatLE(odd ? -0 : 0, at);
    });
    expect(mergeableFrom((await openCheckpoint(signs)).model)).toEqual(PUBLISHED);
  });

  test.each(TABLES)('one value of one slot is enough to forbid it: %s', async (spoiled) => {
    let slots = 0;
    const directory = derive(`spoiled-${TABLES.indexOf(spoiled)}`, (slot, _, table) => {
      slot.fill(0);
      // The third unused slot of id 1: slot 3, the last.
      if (table === spoiled && ++slots === 3) slot.writeFloatLE(1e-3, slot.length - 4);
    });
    expect(mergeableFrom((await openCheckpoint(directory)).model)).toEqual([4, 3, ...TILES.slice(1)]);
  });

  test('another mode is refused by every engine', async () => {
    const checkpoint = await openCheckpoint(zeroed);
    const options = { ...shared, vision: 'fast' as never };
    for (const open of [openOnnxEngine, openCpuEngine]) {
      await expect(open(checkpoint, options)).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    }
  });
});

describe.each([
  ['zeros', zeroed],
  ['equal values', alike],
])('tiny-a with %s in unused slots', (_, directory) => {
  test.each(['meta', 'hf-4.45', 'hf-5'] as const)('the same states for every arrangement (%s)', async (numerics) => {
    const checkpoint = await openCheckpoint(directory);
    const merged = await states(checkpoint, everyId, numerics, 'auto');
    const full = await states(checkpoint, everyId, numerics, 'full');
    everyId.forEach((image, i) => {
      const slots = Math.min(image.numTiles + 1, SLOTS);
      expect(computedTokens(checkpoint, image)).toBe(slots * (TOKENS + 1));
      const { hiddenSize } = checkpoint.model.architecture.text;
      expect(merged[i]).toHaveLength((numerics === 'meta' ? image.numTiles : SLOTS) * TOKENS * hiddenSize);
      expect(relative(merged[i]!, full[i]!)).toBeLessThan(1e-4);
    });
  });

  test('the same inside: every layer, every token of the full sequence', async () => {
    const checkpoint = await openCheckpoint(directory);
    const merged = await tensors(checkpoint, everyId, 'auto');
    const full = await tensors(checkpoint, everyId, 'full');
    const { localLayers, globalLayers, hiddenSize } = checkpoint.model.architecture.vision;
    everyId.forEach((_, i) => {
      expect([...full[i]!.keys()]).toHaveLength(localLayers + globalLayers + 4);
      expect([...merged[i]!.keys()]).toEqual([...full[i]!.keys()]);
      expect(merged[i]!.get('after_local_layer_0')).toHaveLength(SLOTS * PADDED * hiddenSize);
      for (const [name, data] of full[i]!) {
        expect(relative(merged[i]!.get(name)!, data), `${name}, id ${i + 1}`).toBeLessThan(1e-4);
      }
    });
  });

  test('pixels in an unused slot bring the full sequence back', async () => {
    const checkpoint = await openCheckpoint(directory);
    const plain = everyId[0]!;
    const pixelValues = plain.pixelValues.slice();
    pixelValues[pixelValues.length - 1] = 2;
    const odd = { ...plain, pixelValues };
    expect(computedTokens(checkpoint, odd)).toBe(SLOTS * PADDED);
    const [full, ofPlain] = await states(checkpoint, [odd, plain], 'meta', 'full');
    const [auto] = await states(checkpoint, [odd], 'meta', 'auto');
    expect(maxDifference(auto!, full!)).toBe(0);
    expect(relative(ofPlain!, full!)).toBeGreaterThan(1e-4); // the pixel does count
  });
});

describe('tiny-a as it is', () => {
  test('takes the full sequence where several slots are unused, and gives the same bits', async () => {
    const checkpoint = await openCheckpoint(tinyA);
    const several = everyId.filter(({ numTiles }) => numTiles < 3);
    for (const image of several) expect(computedTokens(checkpoint, image)).toBe(SLOTS * PADDED);
    const auto = await states(checkpoint, several, 'meta', 'auto');
    const full = await states(checkpoint, several, 'meta', 'full');
    auto.forEach((data, i) => {
      expect(maxDifference(data, full[i]!)).toBe(0);
    });
  });

  test('still merges padding where at most one slot is unused', async () => {
    const checkpoint = await openCheckpoint(tinyA);
    const most = everyId.filter(({ numTiles }) => numTiles >= 3);
    for (const image of most) expect(computedTokens(checkpoint, image)).toBe(SLOTS * (TOKENS + 1));
    const auto = await states(checkpoint, most, 'hf-4.45', 'auto');
    const full = await states(checkpoint, most, 'hf-4.45', 'full');
    auto.forEach((data, i) => {
      expect(relative(data, full[i]!)).toBeLessThan(1e-4);
    });
  });
});

test('the demo model sees the same in pictures of 1, 2, 3 and 4 tiles', async () => {
  const checkpoint = await openCheckpoint(demoModel);
  const processor = createImageProcessor(checkpoint.processor);
  const images: ProcessedImage[] = [];
  const random = createRandom(4);
  for (const [width, height] of [
    [100, 90],
    [220, 100],
    [100, 330],
    [220, 210],
  ] as const) {
    const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i / 3 + 64 * random()) & 255);
    images.push(await processor.process({ width, height, format: 'rgb8', data }));
  }
  expect(images.map(({ numTiles }) => numTiles)).toEqual([1, 2, 3, 4]);
  for (const [i, image] of images.entries()) {
    expect(computedTokens(checkpoint, image)).toBe(Math.min(i + 2, SLOTS) * (65 + 1));
  }
  for (const numerics of ['meta', 'hf-4.45'] as const) {
    const merged = await states(checkpoint, images, numerics, 'auto');
    const full = await states(checkpoint, images, numerics, 'full');
    merged.forEach((data, i) => {
      expect(relative(data, full[i]!), `${i + 1} tiles`).toBeLessThan(1e-4);
    });
  }
});
