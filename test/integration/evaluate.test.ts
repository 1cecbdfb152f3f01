import { execFile } from 'node:child_process';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { evaluateModel } from '#calibration/evaluate/run-model.js';
import { findPython, readScenes } from '#calibration/evaluate/scenes.js';
import { goldenImagePath } from '../support/golden-model-folder.js';
import { createFakeModel } from '../support/model.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';

const run = promisify(execFile);
const program = fileURLToPath(new URL('../../dist/calibration/evaluate/main.js', import.meta.url));

describe('evaluateModel', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await makeTemporaryFolder('scenebus-scenes-');
    const scene = (image: string, questions: object[]) => ({
      image,
      width: 50,
      height: 40,
      objects: [{ label: 'red cup', colour: 'red', class: 'cup', box: [0.1, 0.125, 0.3, 0.25] }],
      questions: questions.map((question) => ({ question: 'What?', reference: 'x', ...question })),
    });
    await copyFile(goldenImagePath('images/noise_s13_50x40.png'), join(folder, 'a.png'));
    await copyFile(goldenImagePath('images/waves_s12_100x52.png'), join(folder, 'b.png'));
    const scenes = [
      scene('a.png', [
        { task: 'locate', label: 'red cup', box: [10, 10, 30, 20], relativeBox: [0.1, 0.125, 0.3, 0.25] },
        { task: 'list' },
        { task: 'exists', answer: true },
      ]),
      scene('b.png', [{ task: 'absentSaid', label: 'dog', box: null }]),
    ];
    await writeFile(join(folder, 'scenes.jsonl'), scenes.map((each) => `${JSON.stringify(each)}\n`).join(''));
  });

  test('encodes each picture once, asks everything and scores what the model says', async () => {
    const { model, engine } = await createFakeModel({ writes: '[{"label":"red cup","box":[10,10,30,20]}]' });
    await using _ = model;
    const differences: string[] = [];
    const done: number[] = [];
    const scores = await evaluateModel(model, await readScenes(folder), folder, {
      onDifference: ({ image }) => void differences.push(image),
      onScene: (count) => void done.push(count),
    });
    expect(engine.encoded).toHaveLength(2);
    expect(done).toEqual([1, 2]);
    expect(differences).toEqual(['a.png', 'a.png', 'a.png', 'b.png']);
    expect(scores.counts()).toMatchObject({ 'locate@0.5': 1, exists: 1, absentSaid: 1, captionF1: 0 });
    // The box is 10–30 × 10–20 hundredths of 50 pixels, in a picture of 50×40.
    expect(scores.table()).toMatchObject({ 'locate@0.5': 1, 'listF1@0.5': 1, exists: 0, absentSaid: 0 });
    expect(scores.table().locateMeanIoU).toBeCloseTo(1, 12);
  });

  test('names the line of a scene that is none', async () => {
    const broken = await makeTemporaryFolder('scenebus-scenes-');
    await writeFile(join(broken, 'scenes.jsonl'), '{"image":"../secret.png","objects":[],"questions":[]}\n');
    await expect(readScenes(broken)).rejects.toMatchObject({
      code: 'ERR_CONFIG_INVALID',
      message: expect.stringContaining('line 1'),
    });
    await expect(readScenes(join(broken, 'nothing'))).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
  });
});

test('says what to install when no Python can render', async () => {
  await expect(findPython(['/nothing/python3', process.execPath])).rejects.toMatchObject({
    code: 'ERR_CONFIG_INVALID',
    message: expect.stringContaining('apt-get install python3 python3-pil python3-numpy'),
  });
});

describe('npm run demo:evaluate', () => {
  test('explains itself', async () => {
    const { stdout } = await run(process.execPath, [program, '--help']);
    expect(stdout).toContain('--variant');
    expect(stdout).toContain('Example:');
  });

  test.each([
    [['--variant', 'sepia'], 'Allowed choices'],
    [['--scenes', 'many'], 'whole number'],
    [['--folder', '/nothing'], 'ERR_CONFIG_INVALID'],
  ])('refuses %j', async (args, message) => {
    await expect(run(process.execPath, [program, ...args])).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining(message),
    });
  });
});
