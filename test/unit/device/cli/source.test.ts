import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSource } from '#device/cli/source.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-source-'));
  const png = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
    .png()
    .toBuffer();
  for (const name of ['shot-10.png', 'shot-9.png', 'shot-1.png']) await writeFile(join(folder, name), png);
  await writeFile(join(folder, 'shot-2.jpg'), 'no picture');
  await writeFile(join(folder, 'shot-3.bmp'), 'BM no picture');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function read(source: string, count?: number) {
  const warnings: string[] = [];
  const names: string[] = [];
  const onWarning = (message: string) => void warnings.push(message);
  for await (const { name } of readSource(source, { count, onWarning })) names.push(basename(name));
  return { names, warnings };
}

describe('the pictures of a folder', () => {
  it('come in natural order, as from a camera; a broken one is told and left out', async () => {
    const { names, warnings } = await read(folder);
    expect(names).toEqual(['shot-1.png', 'shot-9.png', 'shot-10.png']);
    expect(warnings).toEqual([
      expect.stringMatching(/shot-2\.jpg is left out/),
      expect.stringMatching(/shot-3\.bmp.*BMP/),
    ]);
  });

  it('are as many as were asked for, broken ones not counted', async () => {
    expect((await read(folder, 2)).names).toEqual(['shot-1.png', 'shot-9.png']);
  });

  it('that is named alone must be one', async () => {
    await expect(read(join(folder, 'shot-2.jpg'))).rejects.toMatchObject({ code: 'ERR_IMAGE_INVALID' });
  });
});
