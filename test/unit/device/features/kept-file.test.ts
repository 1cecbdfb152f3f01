import { mkdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { silentLogger } from 'scenebus';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { KeptFile } from '#device/features/kept-file.js';
import { until } from '../../../support/brokers.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

const schema = z.array(z.number());

async function open() {
  const file = join(await makeTemporaryFolder('scenebus-kept-'), 'numbers.json');
  const told: string[] = [];
  const problems = {
    report: (part: string, error: unknown) => void told.push(`${part}: ${(error as { code: string }).code}`),
    clear: (part: string) => void told.push(`${part}: well`),
  };
  const backoff = { initialMs: 10, maximumMs: 20 };
  return { file, told, kept: new KeptFile({ file, schema, logger: silentLogger, problems, backoff }) };
}

test('a file that cannot be written is a problem, and has the newest when it can', async () => {
  const { file, told, kept } = await open();
  await using _ = kept;
  // In the way of the file itself: what is written beside it cannot take its place.
  await mkdir(file);
  await kept.write([1]);
  expect(told).toEqual(['file/numbers.json: ERR_JOURNAL_UNAVAILABLE']);
  await kept.write([1, 2]);
  await rmdir(file);
  await until(() => told.at(-1) === 'file/numbers.json: well');
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual([1, 2]);
  expect(await kept.read()).toEqual([1, 2]);
});

test('what cannot be written is not tried again once it is disposed', async () => {
  const { file, told, kept } = await open();
  await mkdir(file);
  await kept.write([1]);
  await kept[Symbol.asyncDispose]();
  await rmdir(file);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(await kept.read()).toBeUndefined();
  expect(told).toHaveLength(1);
});

test('what is being written is on the disk when it is disposed', async () => {
  const { file, kept } = await open();
  void kept.write([1, 2, 3]);
  await kept[Symbol.asyncDispose]();
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual([1, 2, 3]);
});
