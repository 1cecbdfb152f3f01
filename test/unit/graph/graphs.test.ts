import { mkdirSync, realpathSync, renameSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  emitCrossKeyValue,
  emitDecoder,
  emitVisionTower,
  type GraphOptions,
  type ModelDescription,
  selfAttentionLayers,
  visionGeometry,
  weightsRoot,
} from '#graph/index.js';
import { rowOrders } from '#graph/vision-tower.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { openOnnxEngine } from '#sdk/engine/index.js';
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

  test('real tokens come first and every row comes back to its place', () => {
    const [tiles, tokens, padded] = [2, 2, 4];
    const { realFirst, original, features } = rowOrders(tiles, tokens, padded);
    expect(realFirst.slice(8, 16)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(realFirst.slice(16, 24)).toEqual([0, 1, 4, 5, 2, 3, 6, 7]);
    for (let numTiles = 0; numTiles <= tiles; numTiles++) {
      const order = realFirst.slice(numTiles * 8, numTiles * 8 + 8);
      const back = original.slice(numTiles * 8, numTiles * 8 + 8);
      expect(back.map((position) => order[position])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      expect(features.slice(numTiles * 4, numTiles * 4 + 4).map((position) => order[position])).toEqual([0, 1, 4, 5]);
    }
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
