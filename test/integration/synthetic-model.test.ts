/** An end-to-end model that anybody can compute from its formula, in all three numerics, against recorded results. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Engine, Numerics, PlacedImage } from '#sdk/engine/engine.js';
import { openOnnxEngine } from '#sdk/engine/index.js';
import { argmax } from '#sdk/inference/sampling.js';
import { fnv1a, syntheticPixels, tinyConfig, writeSyntheticCheckpoint } from '../support/synthetic-checkpoint.js';
import { ARRANGEMENTS, maxDifference, syntheticImage } from '../support/tiny-images.js';

const TOLERANCE = 1e-4;
const VOCABULARY = 300;
const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-synthetic-'));
const cacheDirectory = path.join(folder, 'cache');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function checkpointAt(
  name: string,
  edit: (config: ReturnType<typeof tinyConfig>) => void = () => {},
): Promise<Checkpoint> {
  const config = tinyConfig();
  edit(config);
  const directory = path.join(folder, name);
  writeSyntheticCheckpoint(directory, config);
  return openCheckpoint(directory);
}

interface Column {
  readonly features: number;
  readonly feature0: readonly number[];
  readonly feature32: readonly number[];
  readonly projected: readonly number[];
  readonly logits: readonly number[];
  readonly logitsSum: number;
  readonly firstRow: readonly number[];
  readonly greedy: readonly number[];
}

const CASES = {
  A: { tokens: [0, 17, 42, 300, 101, 7, 250, 33], aspectRatioId: 2, numTiles: 2 },
  B: { tokens: [0, 300, 5, 6, 7, 8], aspectRatioId: 6, numTiles: 4 },
} as const;

const towerA = {
  features: 17.316858,
  feature0: [-0.293938, 0.741975, -0.575665, 0.802439],
  feature32: [-0.544217, 0.415633, 0.384184, 0.094141],
  projected: [-4.203048, 0.422582, -1.290948, 0.70785],
};
const towerB = {
  features: 98.427469,
  feature0: [-1.368895, 1.365537, -0.98594, 0.481793],
  feature32: [-0.886162, -0.392653, -0.894523, 0.370051],
  projected: [-3.566332, 0.112619, 0.653862, -0.212122],
};
const firstRowMeta = [0.627571, 0.051191, 0.877039];

const TABLE: Readonly<Record<keyof typeof CASES, Readonly<Record<Numerics, Column>>>> = {
  A: {
    meta: {
      ...towerA,
      logits: [-0.51344, 0.511813, 1.876003, 1.295871, -1.973781, -2.390781],
      logitsSum: -16.174307,
      firstRow: firstRowMeta,
      greedy: [250, 104, 86, 37, 33, 268],
    },
    'hf-4.45': {
      ...towerA,
      logits: [-0.506461, 0.529287, 1.767386, 1.279096, -2.085022, -2.244433],
      logitsSum: -18.018441,
      firstRow: [0.995034, 0.098932, 0.947508],
      greedy: [250, 86, 37, 33, 197, 162],
    },
    'hf-5': {
      features: 139.903848,
      feature0: towerA.feature0,
      feature32: [-0.003323, 0.384184, -0.200827, -0.137121],
      projected: [-4.021196, -0.225579, -0.827772, 2.082974],
      logits: [-0.098719, 0.047789, 1.483867, 1.693278, -2.222315, -1.812872],
      logitsSum: -11.933171,
      firstRow: [0.989043, 0.072791, 1.063081],
      greedy: [250, 104, 86, 37, 152, 56],
    },
  },
  B: {
    meta: {
      ...towerB,
      logits: [-0.475627, 1.352645, 0.753313, -1.744504, 0.462217, 0.803823],
      logitsSum: -2.695765,
      firstRow: firstRowMeta,
      greedy: [54, 216, 54, 85, 77, 142],
    },
    'hf-4.45': {
      ...towerB,
      logits: [-0.621531, 1.29446, 0.604657, -1.948175, 0.38546, 0.788335],
      logitsSum: -8.505581,
      firstRow: [0.828875, -0.23151, 1.379442],
      greedy: [54, 188, 2, 85, 267, 16],
    },
    'hf-5': {
      features: 388.262087,
      feature0: towerB.feature0,
      feature32: [-0.481196, -0.894523, -2.19677, 0.279135],
      projected: [-4.165739, -0.702516, 1.366183, 0.826858],
      logits: [-0.425961, 1.353331, 0.885104, -1.342004, -0.265031, 1.0612],
      logitsSum: -8.505101,
      firstRow: [0.691874, -0.238158, 1.60415],
      greedy: [54, 188, 2, 85, 125, 84],
    },
  },
};

function near(actual: Float32Array, start: number, expected: readonly number[]): void {
  const part = actual.subarray(start, start + expected.length);
  expect(maxDifference(part, Float32Array.from(expected))).toBeLessThan(TOLERANCE);
}
const sum = (values: Float32Array) => values.reduce((total, value) => total + value, 0);

async function greedy(engine: Engine, tokens: readonly number[], images: readonly PlacedImage[], count: number) {
  const sequence = engine.createSequence();
  let { logits } = await sequence.forward(Int32Array.from(tokens), { images, logits: 'last' });
  const chosen: number[] = [];
  for (;;) {
    chosen.push(argmax(logits));
    if (chosen.length === count) return chosen;
    ({ logits } = await sequence.forward(Int32Array.of(chosen.at(-1)!), { images, logits: 'last' }));
  }
}

test('the formula is the one of the specification', () => {
  expect(fnv1a('abc')).toBe(440920331);
  near(syntheticPixels(2, 42), 0, [1.69939065, -0.30968845, 1.8239162]);
});

describe.each(['meta', 'hf-4.45', 'hf-5'] as const)('the tiny model under %s', (numerics) => {
  let engine: Engine;
  const seen = new Map<string, Float32Array>();
  beforeAll(async () => {
    const checkpoint = await checkpointAt('tiny');
    const onTensor = (name: string, data: Float32Array) => void seen.set(name, data);
    engine = await openOnnxEngine(checkpoint, { numerics, contextLength: 64, cacheDirectory, onTensor });
  });
  afterAll(() => engine[Symbol.asyncDispose]());

  test.each(['A', 'B'] as const)('case %s', async (name) => {
    const { tokens, aspectRatioId, numTiles } = CASES[name];
    const expected = TABLE[name][numerics];
    const picture = syntheticImage({ aspectRatioId, numTiles }, 0, 42);
    const image = await engine.encodeImage({ ...picture, pixelValues: syntheticPixels(numTiles, 42) });
    const features = seen.get('last_hidden_state')!;
    // A sum of 5120 values: each may be off by its own rounding.
    expect(Math.abs(sum(features) - expected.features)).toBeLessThan(5e-3);
    near(features, 0, expected.feature0);
    near(features, 32, expected.feature32);
    near(seen.get('cross_attention_states')!, 0, expected.projected);

    const images = [{ image, tokenIndex: tokens.indexOf(300 as never) }];
    const { logits } = await engine.createSequence().forward(Int32Array.from(tokens), { images, logits: 'all' });
    const last = logits.subarray(-VOCABULARY);
    near(last, 0, expected.logits);
    expect(Math.abs(sum(last) - expected.logitsSum)).toBeLessThan(1e-3);
    near(logits, 0, expected.firstRow);
    expect(await greedy(engine, tokens, images, expected.greedy.length)).toEqual(expected.greedy);

    if (name === 'A' && numerics === 'meta') {
      const row = (slot: number, token: number) => (slot * 10 + token) * 128;
      near(
        features,
        row(1, 9) + 28,
        [-0.581014, -0.14362, 1.451043, -0.917251, -0.972205, -0.583094, 0.577078, 1.252047],
      );
      near(features, row(3, 9), [-0.232536, 1.92978, -0.982462, -0.059629]);
      near(seen.get('cross_attention_states')!, 39 * 64, [-2.975143, -2.064594, 0.733841, -5.199618]);
      const rows = Array.from(tokens, (_, r) => argmax(logits.subarray(r * VOCABULARY, (r + 1) * VOCABULARY)));
      expect(rows).toEqual([38, 143, 149, 243, 178, 243, 250, 250]);
    }
  });

  test('text alone', async () => {
    const tokens = Int32Array.of(0, 17, 42, 101, 7);
    const { logits } = await engine.createSequence().forward(tokens, { images: [], logits: 'last' });
    near(logits, 0, [-1.76333, -1.489353, 1.171056, -1.381509, 1.286901, 0.833744]);
    expect(argmax(logits)).toBe(104);
    expect(Math.abs(sum(logits) + 21.385374)).toBeLessThan(1e-3);
  });
});

describe('other sizes', () => {
  async function logitsOf(checkpoint: Checkpoint, tokens: readonly number[]): Promise<Float32Array> {
    await using engine = await openOnnxEngine(checkpoint, { contextLength: 64, cacheDirectory });
    const tileSize = checkpoint.model.architecture.vision.tileSize;
    const image = await engine.encodeImage(syntheticImage(ARRANGEMENTS.wide, 3, tileSize));
    const images = [{ image, tokenIndex: 1 }];
    const whole = await engine.createSequence().forward(Int32Array.from(tokens), { images, logits: 'all' });
    const sequence = engine.createSequence();
    const rows: number[] = [];
    for (const token of tokens) {
      const { logits } = await sequence.forward(Int32Array.of(token), { images, logits: 'last' });
      rows.push(...logits);
    }
    expect(maxDifference(whole.logits, Float32Array.from(rows))).toBeLessThan(TOLERANCE);
    return whole.logits;
  }

  // 8, 24 and 20 are head sizes that the fused attention operator refuses; 16 is one that it takes.
  test.each([
    [8, 8],
    [16, 4],
    [24, 4],
    [20, 4],
  ])('a head size of %i with %i heads', async (headDim, heads) => {
    const checkpoint = await checkpointAt(`heads-${headDim}`, (config) => {
      config.text_config.hidden_size = headDim * heads;
      config.text_config.num_attention_heads = heads;
    });
    const logits = await logitsOf(checkpoint, [0, 300, 5, 6, 7]);
    expect(logits.every(Number.isFinite)).toBe(true);
  });

  test('tiles of 70 pixels, one tap, no grouped heads', async () => {
    const checkpoint = await checkpointAt('tiles-70', (config) => {
      config.vision_config.image_size = 70;
      config.vision_config.intermediate_layers_indices = [5];
      config.vision_config.vision_output_dim = 64;
      config.text_config.num_key_value_heads = 4;
      config.text_config.cross_attention_layers = [0, 9];
    });
    expect((await logitsOf(checkpoint, [0, 300, 5, 6, 7])).every(Number.isFinite)).toBe(true);
  });
});
