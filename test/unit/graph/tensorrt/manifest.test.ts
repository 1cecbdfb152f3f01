import { tmpdir } from 'node:os';
import { beforeAll, describe, expect, test } from 'vitest';
import { visionRows } from '#sdk/architecture/vision-rows.js';
import {
  DEFAULT_LOWERING,
  LOWERED_GRAPHS,
  type LoweringManifest,
  loweredVisionRows,
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
  expect(roles(vision.inputs)).toEqual({ host: 9 });
  expect(roles(vision.outputs)).toEqual({ states: 1 });
  expect(roles(crossKeyValue.inputs)).toEqual({ states: 1 });
  expect(roles(crossKeyValue.outputs)).toEqual({ cross: 16 });
  expect(roles(decoder.inputs)).toEqual({ host: 6, past: 64, cross: 16 });
  expect(roles(decoder.outputs)).toEqual({ logits: 1, present: 64 });
  expect(roles(text.inputs)).toEqual({ host: 3, past: 64 });
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

  test('every way to compute an image lies within the range of the vision engine', () => {
    const { profile } = engine('vision');
    const within = (size: string, value: number) => {
      expect(value).toBeGreaterThanOrEqual(profile[size]!.min);
      expect(value).toBeLessThanOrEqual(profile[size]!.max);
    };
    for (const numTiles of [1, 2, 3, 4]) {
      for (const merged of [false, true]) {
        for (const allSlots of [false, true]) {
          const rows = visionRows(manifest.vision, { numTiles, merged, allSlots });
          const inputs = loweredVisionRows(rows);
          within('slots', rows.slots);
          within('R', inputs.row_tokens.length);
          within('Q', inputs.real_rows.length);
          within('P', inputs.padding_rows.length);
          within('F', inputs.feature_rows.length);
          within('K', inputs.state_rows.length);
          expect([...inputs.real_rows, ...inputs.padding_rows]).toEqual([...inputs.row_tokens.keys()]);
        }
      }
    }
  });

  test('rows and keys of the decoder', () => {
    expect(engine('prefill').profile).toEqual({
      R: { min: 1, opt: 512, max: 512 },
      L: { min: 1, opt: 1, max: 8 },
      K: { min: 1, opt: 6404, max: 2 * 6404 },
    });
    expect(engine('decode').profile.R).toEqual({ min: 1, opt: 1, max: 8 });
    expect(engine('decode-text').profile).not.toHaveProperty('K');
  });
});
