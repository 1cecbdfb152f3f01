import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const repository = fileURLToPath(new URL('../../..', import.meta.url));

/** A check's faults are in what it writes to stderr, so a failure shows them. */
async function check(script: string, ...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const run = promisify(execFile)(process.execPath, [`test/check/${script}`, ...args], {
    cwd: repository,
    maxBuffer: 2 ** 24,
  });
  return run.catch(({ stdout, stderr }: { stdout: string; stderr: string }) => ({
    stdout,
    stderr: `FAILED\n${stderr}`,
  }));
}

describe('this repository', () => {
  test('imports only downward and in no circle', async () => {
    const { stderr } = await check('imports.mjs', '--graph');
    expect(stderr).toMatch(/^\d+ files, \d+ imports, 0 not allowed\n$/);
  });

  test('never calls AbortSignal.any, which on Node 20 keeps something of every call on a signal that lives long', async () => {
    const callers: string[] = [];
    for (const folder of ['sdk', 'device', 'calibration'])
      for (const name of await readdir(join(repository, folder), { recursive: true })) {
        if (!/\.(ts|tsx|js|mjs)$/.test(name) || /(^|\/)(node_modules|dist)\//.test(name)) continue;
        if ((await readFile(join(repository, folder, name), 'utf8')).includes('AbortSignal.any(')) callers.push(name);
      }
    expect(callers).toEqual([]);
  });

  test('draws its folders and their imports', async () => {
    const { stdout } = await check('imports.mjs', '--graph');
    expect(stdout).toMatch(/^graph TD\n/);
    expect(stdout).toContain('sdk_model["sdk/model"] --> sdk_inference["sdk/inference"]');
    expect(stdout).not.toContain('sdk_inference["sdk/inference"] --> sdk_model["sdk/model"]');
  });

  test('exports every type that a public signature names, and says what each exported declaration is', async () => {
    const { stdout, stderr } = await check('public-api.mjs', '--list');
    expect(stderr).toBe('');
    expect(stdout).toMatch(
      /^\d+ public declarations, 0 faults\n0 of \d+ exported declarations in sdk\/ have no docstring\n$/,
    );
  });
});
