/** The vision tower in int8 against the one in float, on random weights of odd sizes and on the golden model. */
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Logger } from '#sdk/core/logger.js';
import type { Numerics } from '#sdk/engine/engine.js';
import { openCpuEngine, openOnnxEngine } from '#sdk/engine/index.js';
import type { EngineCheckpoint, OpenEngineOptions } from '#sdk/engine/options.js';
import { CancelFlag } from '#sdk/engine/shared/cancel-flag.js';
import { type Int8TowerOptions, openInt8Tower } from '#sdk/engine/vision/int8-tower.js';
import { openVisionTower } from '#sdk/engine/vision/vision-tower.js';
import type { ProcessedImage } from '#sdk/image/processed-image.js';
import { engineAddon } from '#sdk/native/index.js';
import { tinyConfig, writeSyntheticCheckpoint } from '../support/synthetic-checkpoint.js';
import { ARRANGEMENTS, maxDifference, syntheticImage } from '../support/tiny-images.js';
import { copyCheckpoint, editTensors, GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(realpathSync(tmpdir()), 'scenebus-int8-tower-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Heads of 80 dimensions, tiles of 2 × 2 patches, 5 tokens a tile and 3 of padding. */
function oddCheckpoint(): string {
  const directory = path.join(folder, 'odd');
  const config = tinyConfig();
  Object.assign(config.vision_config, {
    hidden_size: 160,
    attention_heads: 2,
    intermediate_size: 224,
    image_size: 28,
    vision_output_dim: 160 * 4,
  });
  writeSyntheticCheckpoint(directory, config);
  return directory;
}

const odd = await openCheckpoint(oddCheckpoint());
const tinyA = await openCheckpoint(path.join(GOLDEN, 'tiny-a'));
const { instructionSets } = engineAddon().cpuFeatures();

type Vision = NonNullable<OpenEngineOptions['vision']>;
const shared = { contextLength: 64, threads: 2, cacheDirectory: path.join(folder, 'cache') };

async function floatStates(
  checkpoint: EngineCheckpoint,
  images: readonly ProcessedImage[],
  numerics: Numerics,
  vision: Vision,
): Promise<Float32Array[]> {
  await using tower = await openVisionTower(checkpoint, { ...shared, numerics, vision });
  const made: Float32Array[] = [];
  for (const image of images) made.push(await tower.encode(image));
  return made;
}

async function int8States(
  checkpoint: EngineCheckpoint,
  images: readonly ProcessedImage[],
  options: Pick<Int8TowerOptions, 'numerics' | 'vision' | 'instructionSet'>,
): Promise<Float32Array[]> {
  await using tower = await openInt8Tower(checkpoint, { ...shared, ...options });
  const made: Float32Array[] = [];
  for (const image of images) made.push(await tower.encode(image));
  return made;
}

/** Root of the squared differences, as a part of that of the squared values. */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  expect(actual).toHaveLength(expected.length);
  let [difference, size] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

const imagesOf = ({ model }: EngineCheckpoint) =>
  Object.values(ARRANGEMENTS).map((arrangement, seed) =>
    syntheticImage(arrangement, seed + 1, model.architecture.vision.tileSize),
  );

describe.each([
  ['odd sizes', odd, { fine: 0.05, coarse: 0.07 }],
  ['the golden model', tinyA, { fine: 0.03, coarse: 0.045 }],
])('%s', (_, checkpoint, limits) => {
  test.each([
    ['meta', 'auto'],
    ['meta', 'full'],
    ['hf-4.45', 'auto'],
    ['hf-5', 'full'],
  ] as const)('features as in float, within what 8 bits allow, on every set (%s, %s)', async (numerics, vision) => {
    const images = imagesOf(checkpoint);
    const expected = await floatStates(checkpoint, images, numerics, vision);
    for (const instructionSet of instructionSets as Int8TowerOptions['instructionSet'][]) {
      const actual = await int8States(checkpoint, images, { numerics, vision, instructionSet });
      // The product instruction of AVX2 takes weights of 7 bits.
      const limit = instructionSet === 'avx2' ? limits.coarse : limits.fine;
      for (const [i, states] of actual.entries()) expect(relativeError(states, expected[i]!)).toBeLessThan(limit);
    }
  });

  test('the same bits again, with other threads, and after another image', async () => {
    const images = imagesOf(checkpoint);
    const first = await int8States(checkpoint, images, { numerics: 'meta' });
    await using tower = await openInt8Tower(checkpoint, { ...shared, numerics: 'meta', threads: 1 });
    for (const i of [3, 0, 2, 1]) expect(maxDifference(await tower.encode(images[i]!), first[i]!)).toBe(0);
  });
});

test('pixels of a used tile count, each of them', async () => {
  const image = syntheticImage(ARRANGEMENTS.wide, 1, 28);
  const pixelValues = image.pixelValues.slice();
  pixelValues[2 * 3 * 28 * 28 - 1] = 8; // the last one of the second tile
  const [plain, changed] = await int8States(odd, [image, { ...image, pixelValues }], { numerics: 'meta' });
  expect(relativeError(changed!, plain!)).toBeGreaterThan(0.005);
});

const setAt = (name: string, index: number, value: number) => {
  const directory = copyCheckpoint();
  editTensors(path.join(directory, 'model.safetensors'), (tensors) => {
    tensors.get(name)!.data.writeFloatLE(value, index * 4);
  });
  return openCheckpoint(directory);
};

describe('weights that are not finite are refused before a picture is encoded', () => {
  test.each([
    ['vision_model.patch_embedding.weight', Number.NaN],
    ['vision_model.class_embedding', Number.POSITIVE_INFINITY],
    ['vision_model.pre_tile_positional_embedding.embedding.weight', Number.NaN],
    ['vision_model.post_tile_positional_embedding.embedding.weight', Number.NEGATIVE_INFINITY],
    ['vision_model.gated_positional_embedding.embedding', Number.NaN],
    ['vision_model.transformer.layers.1.self_attn.k_proj.weight', Number.POSITIVE_INFINITY],
    ['vision_model.transformer.layers.0.mlp.fc2.bias', Number.NaN],
    ['vision_model.global_transformer.layers.0.mlp.fc1.weight', Number.NaN],
    ['vision_model.global_transformer.layers.0.gate_ffn', Number.NaN],
    ['multi_modal_projector.weight', Number.NEGATIVE_INFINITY],
  ])('%s with %d', async (name, value) => {
    const checkpoint = await setAt(name, 0, value);
    await expect(openInt8Tower(checkpoint, { ...shared, numerics: 'meta' })).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
    });
  });

  test('tables that are read image by image: when an image meets them', async () => {
    const { tileSize } = tinyA.model.architecture.vision;
    const table = 'vision_model.gated_positional_embedding.tile_embedding.weight';
    const perId = tinyA.model.tensors.get(table)!.shape[1]!;
    const checkpoint = await setAt(table, perId, Number.NaN); // of the first slot of id 1
    await using tower = await openInt8Tower(checkpoint, { ...shared, numerics: 'meta' });
    const met = tower.encode(syntheticImage(ARRANGEMENTS.single, 1, tileSize));
    await expect(met).rejects.toMatchObject({ code: 'ERR_MODEL_INVALID', message: expect.stringContaining(table) });
    const others = await tower.encode(syntheticImage(ARRANGEMENTS.wide, 1, tileSize));
    expect(others.every(Number.isFinite)).toBe(true);
  });

  test('and so are pixels', async () => {
    await using tower = await openInt8Tower(odd, { ...shared, numerics: 'meta' });
    const image = syntheticImage(ARRANGEMENTS.single, 1, 28);
    image.pixelValues[7] = Number.NaN;
    await expect(tower.encode(image)).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    const sound = await tower.encode(syntheticImage(ARRANGEMENTS.single, 1, 28));
    expect(sound.every(Number.isFinite)).toBe(true);
  });
});

describe('the packed file', () => {
  let caches = 0;
  const prepare = async () => {
    const cacheDirectory = path.join(folder, `packed-${caches++}`);
    const messages: string[] = [];
    const logger: Logger = { log: (_level, message) => messages.push(message) };
    const open = () => openInt8Tower(odd, { ...shared, cacheDirectory, logger, numerics: 'meta' });
    const image = syntheticImage(ARRANGEMENTS.tall, 3, 28);
    const states = async () => {
      await using tower = await open();
      return { packed: tower.packed.packed, states: await tower.encode(image) };
    };
    const first = await states();
    expect(first.packed).toBe('created');
    const name = readdirSync(path.join(cacheDirectory, 'cpu')).find((file) => file.endsWith('.vision-weights'));
    return { file: path.join(cacheDirectory, 'cpu', name!), first, states, messages };
  };

  test('is made once and found afterwards', async () => {
    const { first, states } = await prepare();
    const again = await states();
    expect(again.packed).toBe('found');
    expect(maxDifference(again.states, first.states)).toBe(0);
  });

  test.each([
    ['cut short', (file: string) => truncateSync(file, 5000)],
    ['empty', (file: string) => truncateSync(file, 0)],
    [
      'of another state of the checkpoint',
      (file: string) => {
        const bytes = readFileSync(file);
        bytes[30] = bytes[30]! ^ 1; // a character of the key
        writeFileSync(file, bytes);
      },
    ],
  ])('%s is refused, rebuilt, and that is logged', async (_, damage) => {
    const { file, first, states, messages } = await prepare();
    damage(file);
    const rebuilt = await states();
    expect(rebuilt.packed).toBe('replaced');
    expect(messages.join()).toMatch(/vision-weights was outdated or damaged and has been rebuilt/);
    expect(maxDifference(rebuilt.states, first.states)).toBe(0);
  });
});

test('a cancelled picture ends within a layer, and the next one is whole', async () => {
  await using tower = await openInt8Tower(odd, { ...shared, numerics: 'meta' });
  const image = syntheticImage(ARRANGEMENTS.square, 1, 28);
  const whole = await tower.encode(image);
  const cancel = new CancelFlag();
  const encoding = tower.encode(image, cancel);
  cancel.set();
  await expect(encoding).rejects.toThrow(/abort/i);
  expect(maxDifference(await tower.encode(image), whole)).toBe(0);
});

test('a closed tower says so', async () => {
  const tower = await openInt8Tower(odd, { ...shared, numerics: 'meta' });
  await tower[Symbol.asyncDispose]();
  await tower[Symbol.asyncDispose]();
  await expect(tower.encode(syntheticImage(ARRANGEMENTS.single, 1, 28))).rejects.toMatchObject({
    code: 'ERR_DISPOSED',
  });
});

describe('the option', () => {
  test('the cpu backend says what encodes its pictures, float unless asked', async () => {
    const options = { contextLength: 64, cacheDirectory: shared.cacheDirectory };
    await using float = await openCpuEngine(tinyA, options);
    await using int8 = await openCpuEngine(tinyA, { ...options, vision: { precision: 'int8' } });
    expect(float.info.vision).toBe('float');
    expect(int8.info.vision).toBe('int8');

    const image = syntheticImage(ARRANGEMENTS.wide, 4, tinyA.model.architecture.vision.tileSize);
    const logitsOf = async (engine: typeof float) => {
      using state = await engine.encodeImage(image);
      using sequence = engine.createSequence();
      const slice = { images: [{ image: state, tokenIndex: 0 }], logits: 'last' as const };
      return (await sequence.forward(Int32Array.of(500, 1, 2, 3), slice)).logits;
    };
    const [expected, actual] = [await logitsOf(float), await logitsOf(int8)];
    const error = relativeError(actual, expected);
    expect(error).toBeGreaterThan(0); // it is another tower
    expect(error).toBeLessThan(0.05);
  });

  test('an aborted picture rejects with the reason', async () => {
    await using engine = await openCpuEngine(odd, {
      cacheDirectory: shared.cacheDirectory,
      vision: { precision: 'int8' },
    });
    const controller = new AbortController();
    const encoding = engine.encodeImage(syntheticImage(ARRANGEMENTS.square, 1, 28), { signal: controller.signal });
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(encoding).rejects.toBe(reason);
  });

  test.each([['int8'], [{ precision: 'int4' }], [{ precision: 'int8', speed: 'high' }], [{ tokens: 'some' }], [null]])(
    '%j is refused',
    async (vision) => {
      await expect(openCpuEngine(tinyA, { vision: vision as never })).rejects.toMatchObject({
        code: 'ERR_ARGUMENT_INVALID',
        details: { option: 'vision' },
      });
    },
  );

  test('a backend without kernels for it refuses int8', async () => {
    await expect(openOnnxEngine(tinyA, { vision: { precision: 'int8' } })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringContaining('cpu backend'),
    });
  });
});
