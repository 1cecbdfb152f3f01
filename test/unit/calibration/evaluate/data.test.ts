import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { placeItems, requireItems } from '#calibration/evaluate/data/items.js';
import { parsePickle } from '#calibration/evaluate/data/pickle.js';
import type { TaskName } from '#calibration/evaluate/task-names.js';
import { TASKS } from '#calibration/evaluate/tasks.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

const folder = fileURLToPath(new URL('../../../fixtures/data-sets/', import.meta.url));
const at = (name: string) => join(folder, name);
const read = (task: TaskName, name: string, more: object = {}) => TASKS[task].read({ file: at(name), ...more });

describe('annotation files as they are published', () => {
  test('VQA v2: questions, with the answers of a second file', async () => {
    const { items } = await read('vqa', 'v2_OpenEnded_mscoco_val2014_questions.json', {
      annotations: at('v2_mscoco_val2014_annotations.json'),
    });
    expect(items.map(({ id }) => id)).toEqual(['42000', '42001', '73000']);
    expect(items[1]).toMatchObject({ question: 'How many cups are there?' });
    expect(items[1]!.imageNames[0]).toBe('COCO_val2014_000000000042.jpg');
    expect(items[1]!.expected).toEqual(['1', '1', '1', '1', '1', '1', '2', '2', '2', '2']);
  });

  test('TextVQA: one file', async () => {
    const { items } = await read('vqa', 'TextVQA_0.5.1_val.json');
    expect(items).toHaveLength(1);
    expect(items[0]!.imageNames[0]).toBe('003a8ae2ef43b901.jpg');
    expect(items[0]!.expected).toHaveLength(10);
  });

  test('DocVQA, ChartQA, POPE', async () => {
    const documents = await read('docvqa', 'val_v1.0_withQT.json');
    expect(documents.items[1]).toMatchObject({
      id: '24580',
      imageNames: ['documents/nkbl0226_1.png', 'nkbl0226_1.png'],
    });
    const charts = await read('chartqa', 'test_human.json');
    expect(charts.items[0]).toMatchObject({
      expected: '14',
      imageNames: ['41699051005347.png', 'png/41699051005347.png'],
    });
    const pope = await read('pope', 'coco_pope_random.json');
    expect(pope.items.map(({ expected }) => expected)).toEqual([true, false, true]);
  });

  test.each([0, 2, 4])('RefCOCO pickled in protocol %d, boxes from instances.json beside it', async (protocol) => {
    const { items } = await read('refcoco', `refs-protocol-${protocol}.p`);
    expect(items.map(({ id, question }) => [id, question])).toEqual([
      ['0', 'red cup'],
      ['1', 'the cup'],
    ]);
    expect(items[0]!.expected).toEqual({ x1: 0.1, y1: 0.125, x2: 0.3, y2: 0.25 });
    const other = await read('refcoco', `refs-protocol-${protocol}.p`, { split: 'testA' });
    expect(other.items.map(({ question }) => question)).toEqual(["dog's étage"]);
    await expect(read('refcoco', `refs-protocol-${protocol}.p`, { split: 'testB' })).rejects.toMatchObject({
      code: 'ERR_CONFIG_INVALID',
      message: expect.stringContaining('val, testA'),
    });
  });

  test('gRefCOCO: what is there and what is not', async () => {
    const { items } = await read('absent', 'grefs(unc).json');
    expect(items.map(({ question, expected }) => [question, expected])).toEqual([
      ['the red cup', true],
      ['a purple elephant', false],
      ['both dogs', true],
    ]);
    expect(items[0]!.imageNames[0]).toBe('COCO_train2014_000000000042.jpg');
  });

  test('COCO captions', async () => {
    const { items } = await read('caption', 'captions_val2014.json');
    expect(items.map(({ expected }) => (expected as string[]).length)).toEqual([2, 1]);
  });

  test('MMMU: options as Python writes them; what is left out is counted', async () => {
    const { items, leftOut } = await read('mmmu', 'mmmu_validation_Art.jsonl');
    expect(items).toHaveLength(1);
    expect(items[0]!.expected).toEqual({ options: ['a cup', "a dog's bowl", 'none'], right: 1 });
    expect(leftOut).toEqual({ 'open questions': 1, 'questions about several pictures': 1 });
    expect(TASKS.mmmu.write(TASKS.mmmu.prompt!, items[0]!)).toBe(
      "What is shown in ?\n(A) a cup\n(B) a dog's bowl\n(C) none\nAnswer with the option's letter from the given choices directly.",
    );
  });

  test('ScienceQA: the part asked for', async () => {
    const { items, leftOut } = await read('mmmu', 'problems.json');
    expect(items.map(({ id, imageNames }) => [id, imageNames[0]])).toEqual([['1', 'val/1/image.png']]);
    expect(leftOut).toEqual({ 'questions without a picture': 1 });
    expect((await read('mmmu', 'problems.json', { split: 'test' })).items).toHaveLength(1);
  });
});

describe('files that are not as they should be', () => {
  test.each([
    ['vqa', 'val_v1.0_withQT.json', 'found DocVQA'],
    ['vqa', 'test_human.json', 'found ChartQA'],
    ['vqa', 'captions_val2014.json', 'found COCO captions'],
    ['vqa', 'v2_mscoco_val2014_annotations.json', 'found the annotations of VQA'],
    ['vqa', 'v2_OpenEnded_mscoco_val2014_questions.json', '--annotations'],
    ['docvqa', 'TextVQA_0.5.1_val.json', 'found TextVQA'],
    ['chartqa', 'coco_pope_random.json', 'no JSON'],
    ['chartqa', 'instances.json', 'found COCO instances'],
    ['pope', 'test_human.json', 'found ChartQA'],
    ['pope', 'captions_val2014.json', 'found COCO captions'],
    ['pope', 'mmmu_validation_Art.jsonl', 'found MMMU'],
    ['refcoco', 'grefs(unc).json', 'found references of gRefCOCO'],
    ['absent', 'refs-protocol-2.p', 'found references of RefCOCO'],
    ['caption', 'instances.json', 'found COCO instances'],
    ['mmmu', 'coco_pope_random.json', 'found POPE'],
    ['mmmu', 'val_v1.0_withQT.json', 'found DocVQA'],
    ['refcoco', 'instances.json', 'found COCO instances'],
    ['docvqa', 'nothing.json', 'there is none'],
  ] as const)('%s refuses %s: %s', async (task, name, message) => {
    await expect(read(task, name)).rejects.toMatchObject({
      code: 'ERR_CONFIG_INVALID',
      message: expect.stringContaining(message),
    });
  });

  test('ids that come twice, empty lists, pictures that are missing or outside', async () => {
    const item = (id: string, name: string) => ({ id, imageNames: [name], question: '', expected: 0 });
    expect(() => requireItems('f', { items: [item('1', 'a'), item('1', 'b')], leftOut: {} })).toThrow('comes twice');
    expect(() => requireItems('f', { items: [], leftOut: {} })).toThrow('nothing to ask');
    const images = await makeTemporaryFolder('scenebus-images-');
    await writeFile(join(images, 'a.png'), 'x');
    await mkdir(join(images, 'folder.png'));
    expect(await placeItems('f', [item('1', 'a.png')], images)).toMatchObject([{ imagePath: join(images, 'a.png') }]);
    await expect(
      placeItems('f', [item('1', 'a.png'), item('2', 'b.png'), item('3', 'b.png'), item('4', 'folder.png')], images),
    ).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID', details: { missing: 2, some: ['b.png', 'folder.png'] } });
    await expect(placeItems('f', [item('1', '../secret.png')], images)).rejects.toMatchObject({
      code: 'ERR_CONFIG_INVALID',
      message: expect.stringContaining('outside'),
    });
  });

  test('a file that is too large is not read', async () => {
    const file = join(await makeTemporaryFolder('scenebus-large-'), 'questions.json');
    await writeFile(file, '{');
    await truncate(file, 2 ** 31);
    await expect(TASKS.docvqa.read({ file })).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
  });

  test('answers of another part of VQA', async () => {
    const other = join(await makeTemporaryFolder('scenebus-vqa-'), 'annotations.json');
    const whole = JSON.parse(await readFile(at('v2_mscoco_val2014_annotations.json'), 'utf8'));
    await writeFile(other, JSON.stringify({ ...whole, annotations: whole.annotations.slice(1) }));
    await expect(
      read('vqa', 'v2_OpenEnded_mscoco_val2014_questions.json', { annotations: other }),
    ).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID', message: expect.stringContaining('42000') });
  });
});

describe('pickles', () => {
  const pickled = (text: string) =>
    parsePickle(
      Uint8Array.from(text, (sign) => sign.charCodeAt(0)),
      'x.p',
    );

  test('of Python 2, as RefCOCO is published', () => {
    expect(pickled("(lp0\n(dp1\nS'sent'\np2\nS'it\\'s \\x41'\np3\nsS'ann_id'\nI1719310\nsS'ok'\nI01\nsa.")).toEqual([
      { sent: "it's A", ann_id: 1719310, ok: true },
    ]);
    expect(pickled('\x80\x02]q\x00(U\x03redL12L\nG\x3f\xe0\x00\x00\x00\x00\x00\x00\x8a\x02\xff\x7fNe.')).toEqual([
      'red',
      12,
      0.5,
      32767,
      null,
    ]);
  });

  test.each([
    ["cos\nsystem\n(S'ls'\ntR.", 'a class or a call'],
    ['\x80\x02cposix\nsystem\n.', 'a class or a call'],
    ['\x80\x09.', 'a protocol after 5'],
    ['(lp0\n', 'the end within a value'],
    ['g7\n.', 'a reference to nothing'],
    ['.', 'nothing where a value is needed'],
    ['N\xff.', 'the code'],
    ['NNs.', 'nothing where a value is needed'],
    ['T\xff\xff\xff\x7fab.', 'the end within a value'],
  ])('that are none are refused: %j', (text, message) => {
    expect(() => pickled(text)).toThrow(message);
  });
});
