import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openCheckpoint } from 'scenebus';
import { beforeAll, describe, expect, test } from 'vitest';
import { int4Folder } from '#device/app/int4-cache.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

const golden = fileURLToPath(new URL('../../../fixtures/golden/tiny-a', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await makeTemporaryFolder('scenebus-int4-cache-');
});

describe('the int4 form of a model folder', () => {
  test('is made once, and again when the source has changed', async () => {
    const source = join(folder, 'plain');
    cpSync(golden, source, { recursive: true });
    const cacheDirectory = join(folder, 'cache');
    const first = await int4Folder(source, { cacheDirectory });
    expect((await openCheckpoint(first)).model.int4).toMatchObject({ bits: 4 });
    expect(await int4Folder(source, { cacheDirectory })).toBe(first);
    expect(await int4Folder(first, { cacheDirectory })).toBe(first);
    writeFileSync(join(source, 'generation_config.json'), '{"eos_token_id": 3}');
    expect(await int4Folder(source, { cacheDirectory })).not.toBe(first);
  });

  test('of a model under the Llama licence needs its acceptance, and keeps "Llama" first in the name', async () => {
    const source = join(folder, 'kiosk');
    cpSync(golden, source, { recursive: true });
    writeFileSync(join(source, 'LICENSE'), 'LLAMA 3.2 COMMUNITY LICENSE AGREEMENT');
    const cacheDirectory = join(folder, 'cache-llama');
    await expect(int4Folder(source, { cacheDirectory })).rejects.toMatchObject({ code: 'ERR_LICENSE_NOT_ACCEPTED' });
    const made = await int4Folder(source, { cacheDirectory, acceptLlamaLicense: true });
    expect(basename(made)).toBe('Llama-kiosk');
    rmSync(cacheDirectory, { recursive: true });
  });
});
