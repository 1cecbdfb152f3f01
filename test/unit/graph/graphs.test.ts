import { mkdirSync, realpathSync, renameSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { visionGeometry, visionTokens } from '#sdk/architecture/vision-tokens.js';
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

describe('vision tokens', () => {
  test('padding to multiples of eight', () => {
    const vision = (tileSize: number) => visionGeometry({ tileSize, patchSize: 14 } as never);
    expect(vision(560)).toEqual({ tokensPerTile: 1601, paddedTokensPerTile: 1608 });
    expect(vision(448)).toEqual({ tokensPerTile: 1025, paddedTokensPerTile: 1032 });
    expect(vision(56)).toEqual({ tokensPerTile: 17, paddedTokensPerTile: 24 });
    // Never without padding: the queries of the padding need at least one token.
    for (let side = 1; side <= 64; side++) {
      const { tokensPerTile, paddedTokensPerTile } = vision(14 * side);
      expect(paddedTokensPerTile).toBeGreaterThan(tokensPerTile);
    }
  });

  // Patches of 14: 5 tokens a tile, 8 with padding.
  const small = { tileSize: 28, patchSize: 14, maxNumTiles: 4 };
  const count = (list: readonly number[], wanted: number) => list.filter((value) => value === wanted).length;

  test('all of them: used tokens, unused tokens, padding', () => {
    const tokens = visionTokens(small, { numTiles: 3, merged: false, allSlots: true });
    expect(tokens).toMatchObject({ slots: 4, realTokens: 15, featureTokens: 20 });
    expect(tokens.tokenPlaces).toEqual([...Array(20).keys(), ...Array(12).fill(20)]);
    expect(tokens.weights).toEqual(Array(32).fill(1));
    expect(tokens.stateTokens).toEqual([...Array(20).keys()]);
    expect(tokens.fullSequence.slice(8, 16)).toEqual([5, 6, 7, 8, 9, 23, 24, 25]);
    expect([...tokens.fullSequence].sort((a, b) => a - b)).toEqual([...Array(32).keys()]);
  });

  test.each([
    { numTiles: 1, slots: 2, computed: 12 },
    { numTiles: 2, slots: 3, computed: 18 },
    { numTiles: 3, slots: 4, computed: 24 },
    { numTiles: 4, slots: 4, computed: 24 },
  ])('merged with $numTiles tiles: a token weighs what it stands for', ({ numTiles, slots, computed }) => {
    const tokens = visionTokens(small, { numTiles, merged: true, allSlots: true });
    const full = visionTokens(small, { numTiles, merged: false, allSlots: true });
    expect(tokens.slots).toBe(slots);
    expect(tokens.tokenPlaces).toHaveLength(computed);
    tokens.weights.forEach((weight, index) => {
      expect(count(tokens.fullSequence, index)).toBe(weight);
    });
    // Each token of the full sequence is represented by the same place of the same slot, or of the first unused one.
    full.fullSequence.forEach((inFull, position) => {
      const index = tokens.fullSequence[position]!;
      expect(tokens.tokenSlots[index]).toBe(Math.min(full.tokenSlots[inFull]!, numTiles));
      const place = (list: typeof tokens, of: number) => (of < list.slots * 5 ? list.tokenPlaces[of]! % 5 : 'padding');
      expect(place(tokens, index)).toBe(place(full, inFull));
    });
    expect(tokens.stateTokens).toHaveLength(20);
    expect(Math.max(...tokens.stateTokens)).toBe(tokens.featureTokens - 1);
    // Where only used slots are asked for, nothing else is made into features.
    const used = visionTokens(small, { numTiles, merged: true, allSlots: false });
    expect(used.featureTokens).toBe(5 * numTiles);
    expect(used.stateTokens).toEqual([...Array(5 * numTiles).keys()]);
  });

  test('for the 11B model one tile takes half the tokens', () => {
    const published = { tileSize: 560, patchSize: 14, maxNumTiles: 4 };
    const countOf = (numTiles: number, merged: boolean) =>
      visionTokens(published, { numTiles, merged, allSlots: false }).tokenPlaces.length;
    expect([1, 2, 3, 4].map((numTiles) => countOf(numTiles, false))).toEqual([6432, 6432, 6432, 6432]);
    expect([1, 2, 3, 4].map((numTiles) => countOf(numTiles, true))).toEqual([3204, 4806, 6408, 6408]);
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
