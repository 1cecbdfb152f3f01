import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { llamaLicenseEvidence } from '#calibration/quantize/llama-license.js';
import { quantizeCheckpoint } from '#calibration/quantize/quantize.js';
import { int4Folder } from '#device/app/int4-cache.js';
import { copyCheckpoint, editJson, temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

const evidenceOf = (files: Record<string, string>): Promise<string | null> => {
  const folder = temporaryFolder();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return llamaLicenseEvidence(folder, 'kiosk');
};
const LICENCE = 'LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version Release Date: September 25, 2024';

describe('the Llama licence', () => {
  test.each<[string, Record<string, string>, RegExp]>([
    ['its text', { 'LICENSE.txt': LICENCE }, /LICENSE.txt is the Llama Community License/],
    ['its text as COPYING', { COPYING: LICENCE }, /COPYING is/],
    ['its text as LLAMA_LICENSE', { LLAMA_LICENSE: LICENCE }, /LLAMA_LICENSE is/],
    ['its text as Llama-LICENSE.txt', { 'Llama-LICENSE.txt': LICENCE }, /Llama-LICENSE.txt is/],
    [
      "Meta's own notice",
      { NOTICE: 'Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc.' },
      /NOTICE names it/,
    ],
    ['the use policy alone', { 'USE_POLICY.md': '**Llama 3.2** **Acceptable Use Policy**' }, /USE_POLICY.md is/],
    ['a licence in the card', { 'README.md': '---\nlicense: llama3.2\n---\n# Model' }, /README.md names it/],
    ['a list of them', { 'README.md': '---\nlicense:\n  - other\n  - llama3.2\n---\n' }, /README.md names it/],
    ['its name', { 'README.md': '---\nlicense: other\nlicense_name: "llama3.2"\n---\n' }, /README.md names it/],
    ['the base', { 'README.md': '---\nbase_model: meta-llama/Any-11B\n---\n' }, /made from meta-llama\/Any-11B/],
    [
      'one base of several',
      { 'README.md': '---\r\nbase_model:\r\n- a/b\r\n- unsloth/Llama-3.2-11B-Vision\r\n---\r\n' },
      /made from unsloth\/Llama-3.2-11B-Vision/,
    ],
    ['a card that is no YAML', { 'README.md': '---\nlicense: llama3.2\ntitle: [\n---\n' }, /README.md names it/],
    ['the name it came by', { 'config.json': '{"_name_or_path":"meta-llama/Any"}' }, /config.json .* meta-llama\/Any/],
    [
      'the cache it came from',
      { 'config.json': '{"_name_or_path":"/h/models--meta-llama--Any/snapshots/00"}' },
      /config.json says/,
    ],
  ])('is seen by %s', async (_, files, message) => {
    expect(await evidenceOf(files)).toMatch(message);
  });

  test('is not seen where there is none', async () => {
    const files = {
      LICENSE: 'Apache License',
      NOTICE: 'Copyright of somebody',
      'LICENSES/llama.txt': LICENCE,
      'README.md':
        '---\nlicense: apache-2.0\nbase_model: org/model\n---\nBetter than meta-llama/Llama-3.2-11B. license: llama',
      'config.json': '{"_name_or_path":"/home/llama/kiosk"}',
    };
    expect(await evidenceOf(files)).toBeNull();
    expect(await evidenceOf({ 'README.md': 'no front matter', 'config.json': 'no JSON' })).toBeNull();
  });

  test('is asked for when scenebus.json gives the model another name', async () => {
    const source = copyCheckpoint();
    writeFileSync(join(source, 'scenebus.json'), '{"name":"kiosk"}');
    editJson(join(source, 'config.json'), (config) => {
      config._name_or_path = 'meta-llama/Llama-3.2-11B-Vision';
    });
    const output = join(temporaryFolder(), 'Llama-out');
    await expect(quantizeCheckpoint({ source, output, groupSize: 32 })).rejects.toMatchObject({
      code: 'ERR_LICENSE_NOT_ACCEPTED',
    });
  });
});

describe('a model folder with links to nothing and a folder of licences', () => {
  test('is quantised with the files that are there', async () => {
    const source = copyCheckpoint();
    mkdirSync(join(source, 'LICENSES'));
    for (const name of ['README.md', 'LICENSE', 'foo.txt']) symlinkSync('/nothing/at/all', join(source, name));
    const output = join(temporaryFolder(), 'out');
    await quantizeCheckpoint({ source, output, groupSize: 32 });
    expect(readdirSync(output).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'preprocessor_config.json',
    ]);
    expect(readdirSync(await int4Folder(source, { cacheDirectory: temporaryFolder() }))).toHaveLength(4);
  });
});
