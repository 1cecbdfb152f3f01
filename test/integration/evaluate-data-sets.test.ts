import { appendFile, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { compareAnswers, comparisonMarkdown, type EvaluateOptions, evaluate } from '#calibration/evaluate/index.js';
import { runCli } from '#device/cli/program.js';
import { captureTerminal } from '../support/captured-terminal.js';
import { goldenImagePath } from '../support/golden-model-folder.js';
import { createFakeModel } from '../support/model.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';

const fixtures = fileURLToPath(new URL('../fixtures/data-sets/', import.meta.url));
const demoModel = fileURLToPath(new URL('../../examples/demo-model/', import.meta.url));
const vqa = {
  file: join(fixtures, 'v2_OpenEnded_mscoco_val2014_questions.json'),
  annotations: join(fixtures, 'v2_mscoco_val2014_annotations.json'),
};

describe('evaluate', () => {
  let images: string;
  beforeAll(async () => {
    images = await makeTemporaryFolder('scenebus-coco-');
    await copyFile(goldenImagePath('images/noise_s13_50x40.png'), join(images, 'COCO_val2014_000000000042.jpg'));
    await copyFile(goldenImagePath('images/waves_s12_100x52.png'), join(images, 'COCO_val2014_000000000073.jpg'));
    await mkdir(join(images, 'png'));
  });
  const options = (results: string, more: Partial<EvaluateOptions> = {}): EvaluateOptions => ({
    task: 'vqa',
    data: { ...vqa, images },
    results,
    ...more,
  });

  test('asks everything, several at once, scores it and keeps each answer', async () => {
    const { model, engine } = await createFakeModel({ writes: 'red' });
    await using _ = model;
    const results = join(await makeTemporaryFolder('scenebus-results-'), 'deep', 'vqa.jsonl');
    const progress: number[] = [];
    const evaluation = await evaluate(
      model,
      options(results, { batch: 3, onProgress: ({ done }) => void progress.push(done) }),
    );
    // red: nine of ten agree with eight others or more; the others say nothing of the kind.
    expect(evaluation).toMatchObject({ items: 3, resumed: 0, results, leftOut: {} });
    expect(evaluation.scores.accuracy).toBeCloseTo(1 / 3, 12);
    expect(evaluation.generatedTokens).toBeGreaterThan(3);
    expect(progress).toEqual([0, 1, 2, 3]);
    expect(engine.encoded).toHaveLength(2);
    const lines = (await readFile(results, 'utf8')).trim().split('\n');
    expect(lines).toHaveLength(4);
    expect(JSON.parse(lines[0]!)).toMatchObject({ schema: 'scenebus/evaluation/1', task: 'vqa' });
    const answers = lines.slice(1).map((line) => JSON.parse(line));
    expect(answers.find(({ id }) => id === '42000')).toMatchObject({
      said: { text: 'red' },
      scores: { accuracy: 1 },
      image: 'COCO_val2014_000000000042.jpg',
    });
  });

  test('goes on after a stop, within a line too, and asks nothing twice', async () => {
    const { model } = await createFakeModel({ writes: '1' });
    await using _ = model;
    const results = join(await makeTemporaryFolder('scenebus-results-'), 'vqa.jsonl');
    await evaluate(model, options(results, { limit: 2 }));
    await appendFile(results, '{"id":"73000","question":"Is th');
    const second = await createFakeModel({ writes: 'no' });
    await using __ = second.model;
    const evaluation = await evaluate(second.model, options(results));
    expect(evaluation).toMatchObject({ items: 3, resumed: 2 });
    expect(second.engine.encoded).toHaveLength(1);
    const texts = (await readFile(results, 'utf8'))
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => JSON.parse(line).said.text);
    expect(texts).toEqual(['1', '1', 'no']);
  });

  test('refuses answers of another prompt, and a file that is none', async () => {
    const { model } = await createFakeModel({ writes: 'red' });
    await using _ = model;
    const folder = await makeTemporaryFolder('scenebus-results-');
    const results = join(folder, 'vqa.jsonl');
    await evaluate(model, options(results, { limit: 1 }));
    await expect(evaluate(model, options(results, { prompt: '{question} Briefly.' }))).rejects.toMatchObject({
      code: 'ERR_CONFIG_INVALID',
      details: { different: ['prompt'] },
    });
    const other = join(folder, 'notes.jsonl');
    await writeFile(other, 'hello\n');
    await expect(evaluate(model, options(other))).rejects.toMatchObject({
      code: 'ERR_CONFIG_INVALID',
      message: expect.stringContaining('Line 1'),
    });
  });

  test('names the item whose picture is none, and stops; what was answered is kept', async () => {
    const { model } = await createFakeModel({ writes: 'red' });
    await using _ = model;
    const broken = await makeTemporaryFolder('scenebus-broken-');
    await copyFile(join(images, 'COCO_val2014_000000000042.jpg'), join(broken, 'COCO_val2014_000000000042.jpg'));
    await writeFile(join(broken, 'COCO_val2014_000000000073.jpg'), 'no picture');
    const results = join(broken, 'vqa.jsonl');
    await expect(
      evaluate(model, options(results, { data: { ...vqa, images: broken }, batch: 1 })),
    ).rejects.toMatchObject({ code: 'ERR_IMAGE_INVALID', details: { item: '73000' } });
    expect((await readFile(results, 'utf8')).trim().split('\n')).toHaveLength(3);
  });

  test('stops when it is told to', async () => {
    const { model } = await createFakeModel({ writes: 'red' });
    await using _ = model;
    const abort = new AbortController();
    const results = join(await makeTemporaryFolder('scenebus-results-'), 'vqa.jsonl');
    const onProgress = () => abort.abort(new Error('enough'));
    await expect(evaluate(model, options(results, { signal: abort.signal, onProgress }))).rejects.toThrow('enough');
  });

  test('refuses a model that gives no boxes before it asks', async () => {
    const { model, engine } = await createFakeModel({ writes: 'red' });
    await using _ = model;
    const blind = Object.create(model, { info: { value: { ...model.info, locates: false } } });
    const data = { file: join(fixtures, 'grefs(unc).json'), images };
    await expect(evaluate(blind, options('/nothing', { task: 'absent', data }))).rejects.toMatchObject({
      code: 'ERR_REQUEST_UNSUPPORTED',
    });
    expect(engine.encoded).toHaveLength(0);
  });

  test('compares two runs on the items that both have', async () => {
    const folder = await makeTemporaryFolder('scenebus-results-');
    const [a, b] = [join(folder, 'a.jsonl'), join(folder, 'b.jsonl')];
    for (const [results, writes] of [
      [a, 'red'],
      [b, 'no'],
    ] as const) {
      const { model } = await createFakeModel({ writes });
      await using _ = model;
      await evaluate(model, options(results));
    }
    const comparison = await compareAnswers(a, b, { data: { ...vqa, images }, resamples: 200 });
    expect(comparison).toMatchObject({ task: 'vqa', items: 3, pictures: 2 });
    const [accuracy, normalised] = comparison.measures;
    expect(accuracy).toMatchObject({ name: 'accuracy', difference: 0 });
    expect(normalised!.a).toBeCloseTo(1 / 3, 12);
    const [low, high] = accuracy!.interval!;
    expect(low).toBeLessThan(0);
    expect(high).toBeGreaterThan(0);
    const table = comparisonMarkdown(comparison, ['first', 'second']);
    expect(table).toContain('| 3 items, 2 pictures | first | second |');
    expect(table).toContain('| vqa accuracy | 0.3333 | 0.3333 | +0.0000 |');
    const other = { file: join(fixtures, 'TextVQA_0.5.1_val.json') };
    await expect(compareAnswers(a, b, { data: other })).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
  });
});

describe('the commands', () => {
  test('evaluate and compare the demo model', async () => {
    const folder = await makeTemporaryFolder('scenebus-command-');
    const file = join(folder, 'pope.json');
    const lines = [
      ['00000.jpg', 'yes'],
      ['00001.jpg', 'no'],
    ].map(([image, label], i) =>
      JSON.stringify({ question_id: i, image, text: 'Is there a purple spaceship?', label }),
    );
    await writeFile(file, `${lines.join('\n')}\n`);
    const results = join(folder, 'a.jsonl');
    const model = join(demoModel, 'checkpoint');
    const shared = ['--data', file, '--images', join(demoModel, 'evaluation'), '--cache', join(folder, 'cache')];
    const terminal = captureTerminal();
    const args = ['evaluate', 'pope', ...shared, '--model', `${model},backend=cpu`, '--results', results, '--json'];
    expect(await runCli(args, { terminal, environment: {} })).toBe(0);
    const { scores, items, key } = JSON.parse(terminal.output());
    expect(items).toBe(2);
    expect(key.settings).toEqual({ backend: 'cpu' });
    expect(scores).toMatchObject({ accuracy: 0.5, recall: 0, yesRatio: 0, precision: null });
    const second = captureTerminal();
    const out = join(folder, 'table.md');
    const names = ['--names', 'one,two', '--out', out];
    expect(
      await runCli(['compare', results, results, ...shared.slice(0, 2), ...names], {
        terminal: second,
        environment: {},
      }),
    ).toBe(0);
    expect(second.output()).toContain(
      '| pope accuracy | 0.5000 | 0.5000 | +0.0000 | +0.0000 … +0.0000 | 0 / 0, p = 1.0 |',
    );
    expect(await readFile(out, 'utf8')).toBe(second.output());
  }, 60_000);

  test.each([
    [['evaluate', 'poem', '--data', 'x'], 'Allowed choices'],
    [['evaluate', 'pope'], '--data'],
    [['evaluate', 'pope', '--data', 'x', '--batch', '17'], 'at most 16'],
    [['evaluate', 'pope', '--data', 'x', '--model', 'm,speed=fast'], 'grounder=text|attention'],
    [['evaluate', 'pope', '--data', 'x', '--model', 'm,constructor=x'], 'grounder=text|attention'],
    [['compare', 'a', 'b', '--data', 'x'], '--task'],
    [['compare', 'a.jsonl', 'b.jsonl', '--data', 'x'], 'cannot read a.jsonl'],
  ])('%j is wrong use', async (args, message) => {
    const terminal = captureTerminal();
    expect(await runCli(args, { terminal, environment: {} })).toBe(2);
    expect(terminal.errors()).toContain(message);
  });
});
