import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { expandPattern } from '#device/cli/file-pattern.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

let folder: string;
beforeAll(async () => {
  folder = await makeTemporaryFolder('scenebus-pattern-');
  mkdirSync(join(folder, 'a/b'), { recursive: true });
  for (const name of ['1.jpg', '2.jpg', '10.png', '.hidden.jpg', 'x[1].jpg', 'a/3.jpg', 'a/b/4.jpg', 'a(+).jpg'])
    writeFileSync(join(folder, name), '');
});

const matches = async (pattern: string) =>
  (await expandPattern(join(folder, pattern)))?.map((path) => relative(folder, path)).sort();

describe('a pattern of file names', () => {
  test.each([
    ['*.jpg', ['1.jpg', '2.jpg', 'a(+).jpg', 'x[1].jpg']],
    ['?.jpg', ['1.jpg', '2.jpg']],
    ['[12].*', ['1.jpg', '2.jpg']],
    ['[!1].jpg', ['2.jpg']],
    ['.*.jpg', ['.hidden.jpg']],
    ['*/*.jpg', ['a/3.jpg']],
    ['**/*.jpg', ['1.jpg', '2.jpg', 'a(+).jpg', 'a/3.jpg', 'a/b/4.jpg', 'x[1].jpg']],
    ['a/**', ['a/3.jpg', 'a/b/4.jpg']],
    ['a(?).jpg', ['a(+).jpg']],
    ['nothing/*.jpg', []],
  ])('%s fits what a shell would take', async (pattern, files) => {
    expect(await matches(pattern)).toEqual(files);
  });

  test.each([
    'x[1].jpg', // a file of exactly that name
    'plain.jpg',
  ])('%s is none', async (name) => {
    expect(await matches(name)).toBeUndefined();
  });

  test('an address with marks is none', async () => {
    expect(await expandPattern('rtsp://10.0.0.7/stream?user=*')).toBeUndefined();
    expect(await expandPattern('file:clip.mp4?loop')).toBeUndefined();
  });
});
