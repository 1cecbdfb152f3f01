/** The detector that was trained on demo scenes, in its process; what is wrong with a folder, and a process that dies. */
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DetectorGrounder, type GroundedObject, loadModel, openDetector } from 'scenebus';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GraphBuilder } from '#sdk/graph/builder.js';
import { scaleScore } from '#sdk/grounding/index.js';
import { decodeImage, encodePng, type PixelImage } from '#sdk/image/index.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';
import { demoModel } from './device/demo-device.js';

const original = fileURLToPath(new URL('../../examples/demo-detector/', import.meta.url));
type Manifest = Record<'input' | 'output' | 'selfTest', Record<string, unknown>> & Record<string, unknown>;

/** A copy of the folder with a manifest of its own. */
async function detectorFolder(change: (manifest: Manifest) => void): Promise<string> {
  const folder = await makeTemporaryFolder('scenebus-detector-');
  const manifest = JSON.parse(await readFile(join(original, 'detector.json'), 'utf8')) as Manifest;
  for (const file of ['model.onnx', 'self-test.jpg']) await copyFile(join(original, file), join(folder, file));
  change(manifest);
  await writeFile(join(folder, 'detector.json'), JSON.stringify(manifest));
  return folder;
}

/** The picture of the self-test, whose things are known. */
let picture: PixelImage;
beforeAll(async () => {
  picture = await decodeImage(join(original, 'self-test.jpg'));
});
const all = { text: 'Three bottles.', tokens: [] };

describe('a detector', () => {
  let detector: DetectorGrounder;
  beforeAll(async () => {
    detector = await openDetector(original);
  }, 60_000);
  afterAll(() => detector[Symbol.asyncDispose]());

  test('finds what is in its picture, in a process of its own', async () => {
    expect(detector.pid).not.toBe(process.pid);
    const objects = await detector.ground({ ...all, image: picture });
    expect(objects.map(({ label }) => label).sort()).toEqual(['green bottle', 'orange bottle', 'purple bottle']);
    for (const { score, source, boxPixels, verified } of objects) {
      expect([score > 0.5, source, verified]).toEqual([true, 'detector', undefined]);
      expect(boxPixels[2]).toBeLessThanOrEqual(picture.width);
    }
  });

  test('gives what the question or the answer names, and all of it when they name nothing that it knows', async () => {
    const found = async (question: string, text = 'Here.') =>
      (await detector.ground({ text, tokens: [], question, image: picture })).map(({ label }) => label).sort();
    expect(await found('Where is the green bottle?')).toEqual(['green bottle']);
    expect(await found('What is there?', 'Purple bottles and an ORANGE bottle.')).toEqual([
      'orange bottle',
      'purple bottle',
    ]);
    expect(await found('Where is the red cup?')).toEqual([]);
    expect(await found('Where is the evergreen bottle?')).toHaveLength(3);
  });

  test('lets the model decide among its boxes', async () => {
    const verify = async (objects: readonly GroundedObject[]) =>
      objects.map((object) => ({ ...object, score: 0.1, verified: object.label !== 'green bottle' }));
    const decided = await detector.ground({ ...all, image: picture, verify });
    expect(decided.map(({ label, verified }) => [label, verified])).toEqual([
      ['orange bottle', true],
      ['purple bottle', true],
    ]);
    expect(decided.every(({ score }) => score === 0.1)).toBe(true);
  });

  test('gives scores as its folder makes probabilities of them, or raw; either way the same boxes', async () => {
    const scaling = { temperature: 0.5, bias: 2 };
    const folder = await detectorFolder((manifest) => void Object.assign(manifest, { scores: scaling }));
    const found = async (scores: 'raw' | 'calibrated') => {
      await using opened = await openDetector(folder, { scores });
      return await opened.ground({ ...all, image: picture });
    };
    const [raw, calibrated] = [await found('raw'), await found('calibrated')];
    expect(raw).toHaveLength(3);
    expect(calibrated).toEqual(raw.map((object) => ({ ...object, score: scaleScore(object.score, scaling) })));
    expect(calibrated[0]!.score).not.toBe(raw[0]!.score);
  });

  test('fails a call during which its process dies; the next one starts another', { timeout: 60_000 }, async () => {
    const before = detector.pid!;
    const call = detector.ground({ ...all, image: picture });
    process.kill(before, 'SIGKILL');
    await expect(call).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED' });
    expect(await detector.ground({ ...all, image: picture })).toHaveLength(3);
    expect(detector.pid).not.toBe(before);
  });

  test('ends with an abort, and does not take more than it can', async () => {
    const aborted = detector.ground({ ...all, image: picture }, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
    const calls = Array.from({ length: 20 }, () => detector.ground({ ...all, image: picture }));
    const results = await Promise.allSettled(calls);
    const refused = results.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    expect(refused.map(({ reason }) => reason.code)).toEqual(['ERR_BUSY', 'ERR_BUSY', 'ERR_BUSY', 'ERR_BUSY']);
  });
});

test('a detector that is closed says so, and its process is gone', async () => {
  const detector = await openDetector(original, { threads: 1, decides: 'detector' });
  const pid = detector.pid!;
  await detector[Symbol.asyncDispose]();
  await expect(detector.ground({ ...all, image: picture })).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  expect(() => process.kill(pid, 0)).toThrow();
});

describe('a folder', () => {
  const refused = async (change: (manifest: Manifest) => void) => {
    const folder = await detectorFolder(change);
    return await openDetector(folder).then(
      async (detector) => {
        await detector[Symbol.asyncDispose]();
        return undefined;
      },
      (error) => error,
    );
  };

  test.each<[string, (manifest: Manifest) => void, RegExp]>([
    [
      'with channels swapped',
      ({ input }) => void Object.assign(input, { channels: 'bgr' }),
      /its own picture self-test\.jpg.*Check size, channels/,
    ],
    ['with another normalisation', ({ input }) => void Object.assign(input, { mean: [3, 3, 3] }), /its own picture/],
    ['with boxes read as corners', ({ output }) => void Object.assign(output, { box: 'xyxy' }), /its own picture/],
    ['with boxes in pixels', ({ output }) => void Object.assign(output, { unit: 'pixels' }), /its own picture/],
    ['with labels in another order', (manifest) => void (manifest.labels as string[]).reverse(), /its own picture/],
    ['with too few labels', (manifest) => void (manifest.labels as string[]).pop(), /"logits".*float32 \[1, …, 127\]/],
    [
      'with another layout',
      (m) => void Object.assign(m, { output: { layout: 'yolo', tensor: 'boxes', order: 'rows', unit: 'pixels' } }),
      /"boxes".*float32 \[1, …, 132\]/,
    ],
    [
      'with another input size',
      ({ input }) => void Object.assign(input, { width: 64 }),
      /float32 \[1, 3, 128, 64\] .*Correct input/s,
    ],
    [
      'with an input that is not there',
      ({ input }) => void Object.assign(input, { tensor: 'image' }),
      /input "image".*it has pixels/,
    ],
    [
      'with an output that is not there',
      ({ output }) => void Object.assign(output, { boxes: 'b' }),
      /output "b".*it has logits, boxes/,
    ],
    [
      'with scores that are none',
      ({ output }) => void Object.assign(output, { activation: 'none' }),
      /activation in detector\.json/,
    ],
    ['with a word that is unknown', ({ output }) => void Object.assign(output, { nms: true }), /output/],
    [
      'whose scores have no temperature above 0',
      (manifest) => void Object.assign(manifest, { scores: { temperature: 0, bias: 1 } }),
      /detector\.json[\s\S]*scores\.temperature/,
    ],
    [
      'whose scores are scaled by what is no number',
      (manifest) => void Object.assign(manifest, { scores: { temperature: 1, bias: 'much' } }),
      /scores\.bias/,
    ],
    ['without a self-test', (manifest) => void delete (manifest as Partial<Manifest>).selfTest, /selfTest/],
    [
      'whose self-test looks for what it cannot know',
      ({ selfTest }) => void Object.assign(selfTest, { objects: [{ label: 'dog', box: [0, 0, 1, 1] }] }),
      /"dog", which is not in labels/,
    ],
    [
      'whose file is not ONNX',
      (manifest) => void Object.assign(manifest, { model: 'detector.json' }),
      /ONNX file that ONNX Runtime can load/,
    ],
    [
      'that reaches out of itself',
      (manifest) => void Object.assign(manifest, { model: '../model.onnx' }),
      /name of a file beside detector\.json/,
    ],
  ])('%s is refused with what to do', { timeout: 60_000 }, async (_name, change, message) => {
    const error = await refused(change);
    expect(['ERR_MODEL_INVALID', 'ERR_ENGINE_FAILED']).toContain(error?.code);
    expect(error.message).toMatch(message);
  });

  test('without detector.json, or options that are none', async () => {
    const folder = await makeTemporaryFolder('scenebus-detector-');
    await expect(openDetector(folder)).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
    for (const options of [{ threads: 0 }, { decides: 'both' }, { scores: 'scaled' }, { nms: 1 }])
      await expect(openDetector(original, options as never)).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
  });
});

/**
 * A YOLO-like graph whose rows are the same for every picture but that the darkest pixel is divided by itself and added:
 * NaN for black, 0 for all others.
 */
async function constantDetector(rows: readonly (readonly number[])[]): Promise<string> {
  const folder = await makeTemporaryFolder('scenebus-detector-');
  const b = new GraphBuilder('constant');
  const pixels = b.input('images', 'float32', [1, 3, 32, 32]);
  const bytes = new Uint8Array(Float32Array.from(rows.flat()).buffer);
  const out = b.initializer('rows', 'float32', [1, rows.length, 6], { kind: 'inline', bytes });
  const darkest = b.node('ReduceMin', [pixels], { attributes: { keepdims: 0 } });
  const one = b.node('Div', [darkest, darkest]);
  b.output(b.add(out, b.node('Sub', [one, b.scalar(1)])), 'rows_out', 'float32', [1, rows.length, 6]);
  await writeFile(join(folder, 'model.onnx'), b.encode());
  await writeFile(join(folder, 'grey.png'), await encodePng(grey(100)));
  const manifest = {
    labels: ['cup', 'key'],
    input: { tensor: 'images', width: 32, height: 32, resize: 'letterbox' },
    output: { layout: 'yolo', tensor: 'rows_out', order: 'rows', unit: 'pixels' },
    selfTest: { picture: 'grey.png', objects: [{ label: 'cup', box: [0.25, 0, 0.5, 0.5] }] },
  };
  await writeFile(join(folder, 'detector.json'), JSON.stringify(manifest));
  return folder;
}

/** Twice as wide as high: 32 × 16 of the input, 8 pixels of filling above and below. */
function grey(value: number) {
  return { width: 64, height: 32, format: 'rgb8' as const, data: new Uint8Array(64 * 32 * 3).fill(value) };
}

test('boxes of a YOLO-like detector that reach out of the picture are cut, those outside left out; NaN is an error', async () => {
  const folder = await constantDetector([
    [12, 12, 8, 8, 0.9, 0.1], // the self-test's
    [32, 24, 16, 16, 0.1, 0.8], // over the right lower corner
    [16, 3, 8, 6, 0.1, 0.7], // in the filling above the picture
    [-40, 12, 8, 8, 0.6, 0.1], // beside the input
  ]);
  await using detector = await openDetector(folder, { decides: 'detector' });
  const objects = await detector.ground({ ...all, image: grey(200) });
  expect(objects.map(({ label, boxPixels }) => [label, ...boxPixels])).toEqual([
    ['cup', 16, 0, 32, 16],
    ['key', 48, 16, 64, 32],
  ]);
  const black = detector.ground({ ...all, image: grey(0) });
  await expect(black).rejects.toMatchObject({ code: 'ERR_ENGINE_FAILED', message: expect.stringContaining('NaN') });
  expect(await detector.ground({ ...all, image: grey(10) })).toHaveLength(2);
});

test('the demo model decides among what the detector found: a box whose label is not what it shows is left out', {
  timeout: 120_000,
}, async () => {
  const right = await openDetector(original);
  // Two labels changed places, in the self-test too: it finds purple bottles where green ones are.
  const folder = await detectorFolder((manifest) => {
    const swap = (label: string) =>
      ({ 'green bottle': 'purple bottle', 'purple bottle': 'green bottle' })[label] ?? label;
    manifest.labels = (manifest.labels as string[]).map(swap);
    const objects = manifest.selfTest.objects as { label: string }[];
    manifest.selfTest.objects = objects.map((each) => ({ ...each, label: swap(each.label) }));
  });
  const wrong = await openDetector(folder);
  const cacheDirectory = await makeTemporaryFolder('scenebus-cache-');
  const labelsOf = async (detector: DetectorGrounder) => {
    await using model = await loadModel(demoModel, { grounder: detector, cacheDirectory, backend: 'cpu' });
    const { objects, usage } = await model.ask(picture, 'Are there a green bottle, a purple bottle, an orange bottle?');
    expect(objects.every(({ verified, source }) => verified === true && source === 'detector')).toBe(true);
    return [objects.map(({ label }) => label).sort(), usage.images];
  };
  expect(await labelsOf(right)).toEqual([['green bottle', 'orange bottle', 'purple bottle'], 4]);
  expect(await labelsOf(wrong)).toEqual([['orange bottle'], 4]);
  await right[Symbol.asyncDispose]();
  await wrong[Symbol.asyncDispose]();
});
