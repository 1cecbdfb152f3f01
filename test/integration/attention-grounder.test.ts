/** Boxes from where the demo model looks, through the ordinary road; how good they are is measured elsewhere. */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeImage, type LoadModelOptions, loadModel } from 'scenebus';
import { beforeAll, describe, expect, test } from 'vitest';
import type { FakeEngine } from '../support/engine.js';
import { createFakeModel, plainImage } from '../support/model.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';

const demoModel = fileURLToPath(new URL('../../examples/demo-model', import.meta.url));
const HEADS = [0, 1, 2, 3].map((head) => ({ layer: 3, head }));
/** Fitted to 240 scenes. */
const PRESENCE = {
  weights: { onPatches: 1.58, concentration: 3.19, peak: -15.13, agreement: 1.06 },
  bias: -3.28,
  threshold: 0.745,
};

let cacheDirectory: string;
let folder: string;
/** A copy of the demo model whose manifest says something else of boxes. */
async function withManifest(changes: Record<string, unknown>): Promise<string> {
  const copy = join(await makeTemporaryFolder('scenebus-attention-'), 'model');
  await cp(join(demoModel, 'checkpoint'), copy, { recursive: true });
  const manifest = JSON.parse(await readFile(join(copy, 'scenebus.json'), 'utf8'));
  await writeFile(join(copy, 'scenebus.json'), JSON.stringify({ ...manifest, ...changes }));
  return copy;
}

interface Located {
  readonly image: string;
  readonly label: string;
  readonly box: readonly [number, number, number, number];
}
let located: Located[];

beforeAll(async () => {
  cacheDirectory = await makeTemporaryFolder('scenebus-cache-');
  folder = await withManifest({ boxes: undefined, attention: { heads: HEADS, presence: PRESENCE } });
  const lines = (await readFile(join(demoModel, 'evaluation', 'scenes.jsonl'), 'utf8')).trim().split('\n');
  located = lines.slice(0, 12).flatMap((line) => {
    const { image, objects } = JSON.parse(line) as { image: string; objects: Located[] };
    return objects.map(({ label, box }) => ({ image, label, box }));
  });
});
const imageOf = ({ image }: Pick<Located, 'image'>) => decodeImage(join(demoModel, 'evaluation', image));
const load = (directory: string, options: LoadModelOptions = {}) =>
  loadModel(directory, { cacheDirectory, ...options });

describe.each(['cpu', 'onnx'] as const)('on %s', (backend) => {
  test('finds things by attention, where the manifest has heads and no boxes', async () => {
    await using model = await load(folder, { backend });
    expect(model.info).toMatchObject({ writesBoxes: false, locates: true });
    let inside = 0;
    for (const { image, label, box } of located) {
      const { objects } = await model.ask(await imageOf({ image }), `Where is the ${label}?`, { maxNewTokens: 1 });
      const [found] = objects;
      if (found === undefined) continue;
      expect(found).toMatchObject({ label, source: 'attention' });
      expect(found.score).toBeGreaterThan(0);
      expect(found.score).toBeLessThanOrEqual(1);
      const { x, y } = found.peak!;
      if (x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]) inside++;
    }
    expect(located.length).toBeGreaterThan(20);
    expect(inside / located.length).toBeGreaterThan(0.85);
  }, 60_000);
});

test('says absent instead of giving a box, and grounds no question that asks for no place', async () => {
  await using model = await load(folder, { backend: 'cpu' });
  const [first] = located as [Located];
  const image = await imageOf(first);
  const there = new Set(located.filter((each) => each.image === first.image).map(({ label }) => label));
  const absent = ['purple banana', 'white clock', 'orange key'].filter((label) => !there.has(label));
  for (const label of absent) expect((await model.ask(image, `Where is the ${label}?`)).objects).toEqual([]);
  const { objects, usage } = await model.ask(image, 'Describe the scene.');
  expect(objects).toEqual([]);
  expect(usage.images).toBe(1);
}, 60_000);

test('shares the picture and the prompt with the answer, and costs one prompt', async () => {
  await using model = await load(folder, { backend: 'cpu' });
  const [first] = located as [Located];
  const { usage } = await model.ask(await imageOf(first), `Where is the ${first.label}?`, { maxNewTokens: 1 });
  expect(usage).toMatchObject({ images: 2, reusedImages: 1, generatedTokens: 1 });
  expect(usage.reusedTokens).toBe(usage.promptTokens / 2 - 1);
}, 60_000);

test('is the same in a process of its own; heat maps cross', async () => {
  const [first] = located as [Located];
  const image = await imageOf(first);
  const question = `Where is the ${first.label}?`;
  const answers = [];
  for (const isolation of ['none', 'process'] as const) {
    await using model = await load(folder, { backend: 'cpu', isolation });
    answers.push(await model.ask(image, question, { heatMap: true, maxNewTokens: 1 }));
  }
  const [here, there] = answers as [(typeof answers)[number], (typeof answers)[number]];
  expect(there.objects).toEqual(here.objects);
  expect(there.heatMaps).toMatchObject([{ label: first.label }]);
  const { data, width, height } = await decodeImage(Buffer.from(there.heatMaps![0]!.png));
  const brightness = Array.from(
    { length: width * height },
    (_, i) => data[3 * i]! + data[3 * i + 1]! + data[3 * i + 2]!,
  );
  const top = brightness.indexOf(Math.max(...brightness));
  expect(Math.abs((top % width) / width - here.objects[0]!.peak!.x)).toBeLessThan(0.08);
  expect(Math.abs(Math.floor(top / width) / height - here.objects[0]!.peak!.y)).toBeLessThan(0.08);
}, 60_000);

test('keeps to written boxes where the model has both, unless attention is chosen; gives heat maps either way', async () => {
  const both = await withManifest({ attention: { heads: HEADS } });
  const [first] = located as [Located];
  const image = await imageOf(first);
  const question = `Where is the ${first.label}?`;
  await using auto = await load(both, { backend: 'cpu' });
  const answer = await auto.ask(image, question, { heatMap: true });
  expect(answer.objects[0]?.source).toBe('text');
  expect(answer.heatMaps).toHaveLength(1);
  expect((await auto.ask(image, 'Describe the scene.', { heatMap: true })).heatMaps).toEqual([]);
  expect((await auto.ask(image, question)).heatMaps).toBeUndefined();
  await using chosen = await load(both, { backend: 'cpu', grounder: 'attention' });
  expect((await chosen.ask(image, question)).objects[0]?.source).toBe('attention');
}, 60_000);

test('refuses attention of a model without heads, heads that it does not have, and a heat map without either', async () => {
  const plain = await withManifest({ attention: undefined });
  await expect(load(plain, { grounder: 'attention' })).rejects.toMatchObject({ code: 'ERR_MODEL_UNSUPPORTED' });
  const wrong = await withManifest({ attention: { heads: [{ layer: 2, head: 0 }] } });
  await expect(load(wrong)).rejects.toMatchObject({ code: 'ERR_MODEL_INVALID' });
  const twice = await withManifest({ attention: { heads: [HEADS[0], HEADS[0]] } });
  await expect(load(twice)).rejects.toMatchObject({ code: 'ERR_MODEL_INVALID' });
  await using model = await load(plain, { backend: 'cpu' });
  const [first] = located as [Located];
  const asked = model.ask(await imageOf(first), 'Where is the cup?', { heatMap: true });
  await expect(asked).rejects.toMatchObject({ code: 'ERR_REQUEST_UNSUPPORTED' });
}, 60_000);

test('a probe can be aborted while it computes', async () => {
  const abort = new AbortController();
  const { model, engine } = await createFakeModel({
    writes: 'x',
    engineInfo: { capabilities: { attentionTaps: true } },
    parts: {
      grounder: {
        source: 'attention',
        ground: async ({ attend, image }, options) => {
          (engine as FakeEngine).onForward = () => abort.abort(new Error('enough'));
          await attend!(image, 'Where is it?', HEADS, options);
          return [];
        },
      },
    },
  });
  await using _ = model;
  await expect(model.ask(plainImage(1), 'Where is the cup?', { signal: abort.signal })).rejects.toThrow('enough');
  expect(model.stats().running).toBe(0);
});
