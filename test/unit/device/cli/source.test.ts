import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isSdkError } from 'scenebus';
import { beforeAll, describe, expect, test } from 'vitest';
import { openSources, type SourceOptions } from '#device/cli/source.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

const photo = fileURLToPath(new URL('../../../../examples/demo-model/evaluation/00000.jpg', import.meta.url));
let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(async () => {
  folder = await makeTemporaryFolder('scenebus-sources-');
  mkdirSync(at('album'));
  mkdirSync(at('empty'));
  for (const name of ['one.jpg', 'two.jpg', 'album/10.jpg', 'album/9.jpg']) copyFileSync(photo, at(name));
  writeFileSync(at('broken.jpg'), Buffer.from([0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]));
});

async function namesOf(sources: readonly string[], options: SourceOptions = {}): Promise<string[]> {
  await using opened = await openSources(sources, options);
  const names: string[] = [];
  for await (const { name } of opened.pictures()) names.push(name);
  return names;
}
async function* chunks(bytes: Uint8Array) {
  yield bytes.subarray(0, 100);
  yield bytes.subarray(100);
}

describe('sources of pictures', () => {
  test('may be several, folders and patterns among them, each in natural order', async () => {
    const names = await namesOf([at('two.jpg'), at('album'), at('o*.jpg'), at('album/*.jpg')]);
    expect(names).toEqual(['two.jpg', 'album/9.jpg', 'album/10.jpg', 'one.jpg', 'album/9.jpg', 'album/10.jpg'].map(at));
  });

  test('may be an image on standard input', async () => {
    expect(await namesOf(['-', at('one.jpg')], { stdin: chunks(readFileSync(photo)) })).toEqual(['-', at('one.jpg')]);
  });

  test('count so many pictures each', async () => {
    expect(await namesOf([at('album'), at('one.jpg')], { count: 1 })).toEqual([at('album/9.jpg'), at('one.jpg')]);
  });

  test('leave a broken picture of several out, with a warning', async () => {
    const warnings: string[] = [];
    const onWarning = (message: string) => warnings.push(message);
    expect(await namesOf([at('broken.jpg'), at('one.jpg')], { onWarning })).toEqual([at('one.jpg')]);
    expect(warnings).toEqual([expect.stringContaining(`${at('broken.jpg')} is left out`)]);
  });

  test.each([
    ['a file that is not there, the last of several', ['one.jpg', 'missing.jpg'], 'ERR_IMAGE_INVALID'],
    ['a clip that is not there', ['one.jpg', 'missing.mp4'], 'ERR_CAPTURE_NOT_FOUND'],
    ['a single picture that is none', ['broken.jpg'], 'ERR_IMAGE_INVALID'],
    ['an empty folder', ['empty'], 'ERR_IMAGE_INVALID'],
    ['a pattern that nothing fits', ['*.webp'], 'ERR_ARGUMENT_INVALID'],
  ])('%s is told before any picture is asked for', async (_, names, code) => {
    const failure = openSources(names.map(at), {});
    await expect(failure).rejects.toSatisfy((error) => isSdkError(error, code as 'ERR_IMAGE_INVALID'));
  });

  test('an address of no kind, no input and an empty one are told as well', async () => {
    await expect(openSources([photo, 'gopher://x'], {})).rejects.toMatchObject({ code: 'ERR_CAPTURE_ADDRESS_INVALID' });
    await expect(openSources(['-'], {})).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    const empty = { stdin: chunks(new Uint8Array()) };
    await expect(openSources(['-'], empty)).rejects.toMatchObject({ code: 'ERR_IMAGE_INVALID' });
  });
});

describe('the pictures of a folder', () => {
  const shots = ['shot-10.jpg', 'shot-9.jpg', 'shot-1.jpg'];
  beforeAll(() => {
    mkdirSync(at('shots'));
    for (const name of shots) copyFileSync(photo, at(`shots/${name}`));
    writeFileSync(at('shots/shot-2.jpg'), 'no picture');
    writeFileSync(at('shots/shot-3.bmp'), 'BM no picture');
  });

  test('come in natural order, as from a camera; a broken one is told and left out', async () => {
    const warnings: string[] = [];
    const names = await namesOf([at('shots')], { onWarning: (message) => warnings.push(message) });
    expect(names).toEqual(['shot-1.jpg', 'shot-9.jpg', 'shot-10.jpg'].map((name) => at(`shots/${name}`)));
    expect(warnings).toEqual([
      expect.stringMatching(/shot-2\.jpg is left out/),
      expect.stringMatching(/shot-3\.bmp.*BMP/),
    ]);
  });

  test('are as many as were asked for, broken ones not counted', async () => {
    const names = await namesOf([at('shots')], { count: 2 });
    expect(names).toEqual(['shot-1.jpg', 'shot-9.jpg'].map((name) => at(`shots/${name}`)));
  });
});
