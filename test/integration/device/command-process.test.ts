/** The command as a process: what it loads, how it ends when its reader or its terminal goes away. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';

const run = promisify(execFile);
const inRepository = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const command = inRepository('dist/device/cli/main.js');

let folder: string;
beforeAll(async () => {
  folder = await makeTemporaryFolder('scenebus-command-');
});

describe('a start of the command', () => {
  test.each([
    ['--help'],
    ['--version'],
    ['describe --help'],
    ['quantize --help'],
    ['bus ask --help'],
    ['run --help'],
    ['log search --help'],
    ['doctor --fast'],
  ])('`scenebus %s` loads the parser and nothing that it could run', async (args) => {
    const listing = join(folder, `${args.replaceAll(' ', '_')}.txt`);
    const hooks = inRepository('test/support/loaded-modules.mjs');
    await run(process.execPath, ['--import', hooks, command, ...args.split(' ')], {
      env: { ...process.env, SCENEBUS_LOADED: listing },
    }).catch((error: { code?: number }) => expect(error.code).toBe(2));
    const loaded = (await readFile(listing, 'utf8')).trim().split('\n');
    const packages = loaded.flatMap((url) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? []);
    expect([...new Set(packages)]).toEqual(['commander']);
    const own = loaded.flatMap((url) => /\/dist\/(.*)$/.exec(url)?.[1] ?? []);
    expect(own).toContain('device/cli/program.js');
    expect(
      own.filter(
        (file) =>
          !/^device\/cli\/|^device\/platform\/repository-files\.js$|^calibration\/(quantize\/option-values|evaluate\/task-names)\.js$|^device\/journal\/record\.js$/.test(
            file,
          ),
      ),
    ).toEqual([]);
  });
});

describe('whose reader goes away', () => {
  test('ends without a stack, with the code that shells give to tools', async () => {
    const child = spawn(process.execPath, [command, 'bus', 'schema'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const [code] = (await once(child, 'close')) as [number];
    expect(said).toBe('');
    expect(code).toBe(141);
  });

  test('goes on with its work when only the log has lost its reader', async () => {
    const child = spawn(process.execPath, [command, 'config', 'check', '/nonexistent'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stderr.destroy();
    const [code] = (await once(child, 'close')) as [number];
    expect(code).toBe(2);
  });
});

describe('a device that cannot be run', () => {
  const unit = () => readFile(inRepository('device/systemd/scenebus.service'), 'utf8');

  test.each([
    ['has a wrong configuration', { version: 2 }],
    ['has no model', { model: { directory: '/nonexistent' } }],
    ['has a model of another kind', { model: { directory: 'other' } }],
  ])(
    'since it %s ends with 2, which its unit does not start again',
    async (_, wrong) => {
      await mkdir(join(folder, 'other'), { recursive: true });
      await writeFile(join(folder, 'other/config.json'), '{ "model_type": "llama" }');
      const config = join(folder, 'wrong.json');
      const device = { version: 1, model: { directory: 'm' }, cameras: [{ id: 'a', address: 'test:checker' }] };
      await writeFile(config, JSON.stringify({ ...device, journal: { enabled: false }, ...wrong }));
      const failure = run(process.execPath, [command, 'run', '--config', config]);
      await expect(failure).rejects.toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/error ERR_(CONFIG|MODEL)_/),
      });
      expect(await unit()).toMatch(/^RestartPreventExitStatus=2$/m);
      expect(await unit()).not.toMatch(/^ExecStartPre=/m);
    },
    60_000,
  );
});
