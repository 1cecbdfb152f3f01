import { tmpdir } from 'node:os';
import { beforeAll, describe, expect, test } from 'vitest';
import { visionTokens } from '#sdk/architecture/vision-tokens.js';
import {
  DEFAULT_LOWERING,
  LOWERED_GRAPHS,
  type LoweringManifest,
  loweredVisionTokens,
  lowerModel,
} from '#sdk/graph/tensorrt/index.js';
import { publishedModel } from '../../../support/published-model.js';

let manifest: LoweringManifest;
beforeAll(() => {
  const folder = tmpdir(); // nothing is written, and nothing there is read
  const files = { convertedFile: `${folder}/converted.bin`, transposedFile: `${folder}/transposed.bin` };
  const options = { ...DEFAULT_LOWERING, ...files, capacity: 4096, maxImages: 2, weightsRoot: folder };
  manifest = lowerModel(publishedModel(`${folder}/model.safetensors`), options).manifest;
});

const engine = (name: string) => manifest.engines.find((each) => each.name === name)!;
const roles = (bindings: LoweringManifest['graphs']['decoder']['inputs']) => {
  const counts: Record<string, number> = {};
  for (const { role } of bindings) counts[role] = (counts[role] ?? 0) + 1;
  return counts;
};

test('JSON says the same', () => {
  expect(JSON.parse(JSON.stringify(manifest))).toEqual(manifest);
});

test('roles of all bindings', () => {
  const { vision, decoder, 'cross-kv': crossKeyValue, 'decoder-text': text } = manifest.graphs;
  const queries = manifest.graphs['decoder-queries'];
  expect(roles(vision.inputs)).toEqual({ host: 12 });
  expect(roles(vision.outputs)).toEqual({ states: 1 });
  expect(roles(crossKeyValue.inputs)).toEqual({ states: 1 });
  expect(roles(crossKeyValue.outputs)).toEqual({ cross: 16 });
  expect(roles(decoder.inputs)).toEqual({ host: 6, past: 64, cross: 16 });
  expect(roles(decoder.outputs)).toEqual({ logits: 1, present: 64 });
  expect(roles(text.inputs)).toEqual({ host: 3, past: 64 });
  expect(queries.inputs).toEqual(decoder.inputs);
  expect(roles(queries.outputs)).toEqual({ logits: 1, present: 64, query: 8 });
  expect(queries.outputs.find(({ role }) => role === 'query')).toEqual({
    name: 'cross_query.3',
    role: 'query',
    type: 'float16',
    shape: ['R', 32, 128],
    layer: 3,
  });
});

test('each present continues a past of its type and shape; what cross-kv gives the decoder takes', () => {
  const { decoder, 'cross-kv': crossKeyValue } = manifest.graphs;
  for (const { role, aliasOf, type, shape, layer } of decoder.outputs) {
    if (role !== 'present') continue;
    expect(decoder.inputs).toContainEqual({ name: aliasOf, role: 'past', type, shape, layer });
  }
  for (const binding of crossKeyValue.outputs) expect(decoder.inputs).toContainEqual(binding);
  expect(manifest.graphs.vision.outputs).toEqual(crossKeyValue.inputs);
});

describe('profiles', () => {
  test('every size that changes is bounded, and nothing else', () => {
    expect(new Set(manifest.engines.map(({ graph }) => graph))).toEqual(new Set(LOWERED_GRAPHS));
    for (const { name, graph, profile } of manifest.engines) {
      const sizes = manifest.graphs[graph].inputs.flatMap(({ shape }) =>
        shape.filter((side) => typeof side === 'string'),
      );
      expect(new Set(Object.keys(profile)), name).toEqual(new Set(sizes));
      for (const { min, opt, max } of Object.values(profile)) {
        expect(min).toBeGreaterThanOrEqual(1);
        expect(opt).toBeGreaterThanOrEqual(min);
        expect(max).toBeGreaterThanOrEqual(opt);
      }
    }
  });

  test('bounds of the two vision engines', () => {
    expect(engine('vision').profile).toEqual({
      slots: { min: 2, opt: 4, max: 4 },
      Q: { min: 1601, opt: 6404, max: 6404 },
      P: { min: 4, opt: 4, max: 1605 },
      F: { min: 1601, opt: 6404, max: 6404 },
      K: { min: 1601, opt: 6404, max: 6404 },
    });
    expect(engine('vision-full').profile.P).toEqual({ min: 4, opt: 28, max: 4831 });
  });

  test.each(['vision', 'vision-full'] as const)('every image lies within the range of %s', (name) => {
    const { profile } = engine(name);
    const within = (size: string, value: number) => {
      expect(value).toBeGreaterThanOrEqual(profile[size]!.min);
      expect(value).toBeLessThanOrEqual(profile[size]!.max);
    };
    for (const numTiles of [1, 2, 3, 4]) {
      for (const merged of name === 'vision' ? [true] : [false, true]) {
        for (const allSlots of [false, true]) {
          const tokens = visionTokens(manifest.vision, { numTiles, merged, allSlots });
          const { lists, biases } = loweredVisionTokens(tokens);
          within('slots', tokens.slots);
          within('Q', lists.real_tokens.length);
          within('P', lists.padding_tokens.length);
          within('F', lists.feature_rows.length);
          within('K', lists.state_rows.length);
          expect([...lists.real_tokens, ...lists.padding_tokens]).toEqual(tokens.tokenPlaces);
          expect([...lists.real_rows, ...lists.padding_rows]).toEqual([...tokens.tokenPlaces.keys()]);
          expect([...lists.real_slots, ...lists.padding_slots]).toEqual(tokens.tokenSlots);
          expect(biases.real_bias).toHaveLength(lists.real_rows.length);
          expect(biases.padding_bias).toHaveLength(lists.padding_rows.length);
        }
      }
    }
  });

  test('tokens and keys of the decoder', () => {
    expect(engine('prefill').profile).toEqual({
      R: { min: 1, opt: 512, max: 512 },
      L: { min: 1, opt: 1, max: 8 },
      K: { min: 1, opt: 6404, max: 2 * 6404 },
    });
    expect(engine('decode').profile.R).toEqual({ min: 1, opt: 1, max: 8 });
    expect(engine('decode-text').profile).not.toHaveProperty('K');
  });
});
