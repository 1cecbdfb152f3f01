import { mkdirSync, realpathSync, renameSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { visionGeometry, visionRows } from '#sdk/architecture/vision-rows.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { openOnnxEngine } from '#sdk/engine/index.js';
import {
  emitCrossKeyValue,
  emitDecoder,
  emitVisionTower,
  type GraphOptions,
  selfAttentionLayers,
  weightsRoot,
} from '#sdk/graph/index.js';
import { copyCheckpoint, GOLDEN, temporaryFolder } from '../checkpoint/checkpoint-folder.js';

const options = (model: ModelDescription): GraphOptions => ({
  weightsRoot: weightsRoot(model),
  taps: 'inputs',
  contextLength: 64,
  accuracyLevel: 4,
  instrument: false,
});
const tinyA = async () => (await openCheckpoint(path.join(GOLDEN, 'tiny-a'))).model;

test('graphs are small: weights stay in the checkpoint', async () => {
  const model = await tinyA();
  const weights = [...model.tensors.values()].reduce((sum, tensor) => sum + tensor.sizeBytes, 0);
  const graphs = [
    emitVisionTower(model, options(model)),
    emitCrossKeyValue(model, options(model)),
    emitDecoder(model, { ...options(model), crossAttention: true }),
    emitDecoder(model, { ...options(model), crossAttention: false }),
  ];
  for (const graph of graphs) expect(graph.byteLength).toBeLessThan(weights / 20);
});

test('emission repeats byte by byte', async () => {
  const model = await tinyA();
  const emit = () => Buffer.from(emitDecoder(model, { ...options(model), crossAttention: true }));
  expect(emit().equals(emit())).toBe(true);
});

test('the text decoder has no trace of the cross layers', async () => {
  const model = await tinyA();
  const emit = (crossAttention: boolean) =>
    Buffer.from(emitDecoder(model, { ...options(model), crossAttention })).toString('latin1');
  expect(emit(true)).toContain('cross_attn');
  expect(emit(false)).not.toContain('cross_attn');
  expect(emit(false)).not.toContain('layers.1.mlp');
  expect(selfAttentionLayers(model.architecture.text)).toEqual([0, 2, 4]);
});

test('a missing tensor is named', async () => {
  const model = await tinyA();
  const tensors = new Map(model.tensors);
  tensors.delete('multi_modal_projector.bias');
  expect(() => emitVisionTower({ ...model, tensors }, options(model))).toThrow(/multi_modal_projector\.bias/);
});

describe('vision rows', () => {
  test('padding to multiples of eight', () => {
    const vision = (tileSize: number) => visionGeometry({ tileSize, patchSize: 14 } as never);
    expect(vision(560)).toEqual({ tokensPerTile: 1601, paddedTokensPerTile: 1608 });
    expect(vision(448)).toEqual({ tokensPerTile: 1025, paddedTokensPerTile: 1032 });
    expect(vision(56)).toEqual({ tokensPerTile: 17, paddedTokensPerTile: 24 });
    // Never without padding: the queries of the padding need at least one row.
    for (let side = 1; side <= 64; side++) {
      const { tokensPerTile, paddedTokensPerTile } = vision(14 * side);
      expect(paddedTokensPerTile).toBeGreaterThan(tokensPerTile);
    }
  });

  // Patches of 14: 5 tokens a tile, 8 rows with padding.
  const small = { tileSize: 28, patchSize: 14, maxNumTiles: 4 };
  const count = (list: readonly number[], wanted: number) => list.filter((value) => value === wanted).length;

  test('all of them: used tokens, unused tokens, padding', () => {
    const rows = visionRows(small, { numTiles: 3, merged: false, allSlots: true });
    expect(rows).toMatchObject({ slots: 4, realRows: 15, featureRows: 20 });
    expect(rows.tokens).toEqual([...Array(20).keys(), ...Array(12).fill(20)]);
    expect(rows.weights).toEqual(Array(32).fill(1));
    expect(rows.stateRows).toEqual([...Array(20).keys()]);
    expect(rows.fullSequence.slice(8, 16)).toEqual([5, 6, 7, 8, 9, 23, 24, 25]);
    expect([...rows.fullSequence].sort((a, b) => a - b)).toEqual([...Array(32).keys()]);
  });

  test.each([
    { numTiles: 1, slots: 2, computed: 12 },
    { numTiles: 2, slots: 3, computed: 18 },
    { numTiles: 3, slots: 4, computed: 24 },
    { numTiles: 4, slots: 4, computed: 24 },
  ])('merged with $numTiles tiles: a row weighs what it stands for', ({ numTiles, slots, computed }) => {
    const rows = visionRows(small, { numTiles, merged: true, allSlots: true });
    const full = visionRows(small, { numTiles, merged: false, allSlots: true });
    expect(rows.slots).toBe(slots);
    expect(rows.tokens).toHaveLength(computed);
    rows.weights.forEach((weight, row) => {
      expect(count(rows.fullSequence, row)).toBe(weight);
    });
    // Each row of the full sequence is represented by the same token of the same slot, or of the first unused one.
    full.fullSequence.forEach((fullRow, place) => {
      const row = rows.fullSequence[place]!;
      expect(rows.rowSlots[row]).toBe(Math.min(full.rowSlots[fullRow]!, numTiles));
      const token = (list: typeof rows, of: number) => (of < list.slots * 5 ? list.tokens[of]! % 5 : 'padding');
      expect(token(rows, row)).toBe(token(full, fullRow));
    });
    expect(rows.stateRows).toHaveLength(20);
    expect(Math.max(...rows.stateRows)).toBe(rows.featureRows - 1);
    // Where only used slots are asked for, nothing else is made into features.
    const used = visionRows(small, { numTiles, merged: true, allSlots: false });
    expect(used.featureRows).toBe(5 * numTiles);
    expect(used.stateRows).toEqual([...Array(5 * numTiles).keys()]);
  });

  test('for the 11B model one tile takes half the rows', () => {
    const published = { tileSize: 560, patchSize: 14, maxNumTiles: 4 };
    const rowsOf = (numTiles: number, merged: boolean) =>
      visionRows(published, { numTiles, merged, allSlots: false }).tokens.length;
    expect([1, 2, 3, 4].map((numTiles) => rowsOf(numTiles, false))).toEqual([6432, 6432, 6432, 6432]);
    expect([1, 2, 3, 4].map((numTiles) => rowsOf(numTiles, true))).toEqual([3204, 4806, 6408, 6408]);
  });
});

describe('where weights lie', () => {
  test('one folder, and the folder that several share', async () => {
    const model = await tinyA();
    expect(weightsRoot(model)).toBe(realpathSync(path.join(GOLDEN, 'tiny-a')));
    const at = (file: string) => ({ ...model.tensors.get('multi_modal_projector.bias')!, file });
    const folder = realpathSync(temporaryFolder());
    for (const name of ['a', 'b']) mkdirSync(path.join(folder, name));
    for (const name of ['a', 'b']) symlinkSync(path.join(GOLDEN, 'rope.json'), path.join(folder, name, 'link'));
    mkdirSync(path.join(folder, 'a', 'deep'));
    const files = ['a/deep', 'b', 'a'].map((name) => path.join(folder, name));
    const tensors = new Map(files.map((file) => [file, at(path.join(file, 'x'))]));
    for (const file of files) symlinkSync('/dev/null', path.join(file, 'x'));
    // Links are followed: all three point to one place.
    expect(weightsRoot({ ...model, tensors })).toBe('/dev');
  });

  test('a hub cache, whose files are links to blobs in another folder, works', async () => {
    const real = copyCheckpoint('tiny-a-bf16');
    const blobs = path.join(path.dirname(real), 'blobs');
    mkdirSync(blobs);
    for (const shard of [1, 2, 3]) {
      const name = `model-0000${shard}-of-00003.safetensors`;
      renameSync(path.join(real, name), path.join(blobs, `blob${shard}`));
      symlinkSync(path.join('..', 'blobs', `blob${shard}`), path.join(real, name));
    }
    await using engine = await openOnnxEngine(await openCheckpoint(real), {
      contextLength: 32,
      cacheDirectory: temporaryFolder(),
    });
    const { logits } = await engine.createSequence().forward(Int32Array.of(500, 7), { images: [], logits: 'last' });
    expect(logits.every(Number.isFinite)).toBe(true);
  });
});
