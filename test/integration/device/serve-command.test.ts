/** The command, and the request of the README to it. */
import { execFile } from 'node:child_process';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, expect, test } from 'vitest';
import { runCli } from '#device/cli/program.js';
import { captureTerminal } from '../../support/captured-terminal.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { demoModel } from './demo-device.js';

const inRepository = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const run = promisify(execFile);

let stop = new AbortController();
afterEach(() => stop.abort());

function serve(...args: string[]) {
  stop = new AbortController();
  const terminal = captureTerminal();
  const ended = runCli(['serve', ...args], { terminal, signal: stop.signal, environment: {} });
  return { terminal, ended };
}

test('answers the request of the README, and ends cleanly when it is stopped', async () => {
  const folder = await makeTemporaryFolder('scenebus-serve-');
  const { terminal, ended } = serve(demoModel, '--port', '0', '--cache', folder);
  await expect
    .poll(() => terminal.output(), { timeout: 60_000 })
    .toMatch(/scenebus-demo at http:\/\/127\.0\.0\.1:\d+\/v1\n/);
  const address = /http:\S+(?=\/v1)/.exec(terminal.output())![0];
  const readme = await readFile(inRepository('README.md'), 'utf8');
  const request = /^```bash\n(printf .*?)^```$/ms.exec(readme)?.[1] ?? '';
  expect(request).toContain('http://127.0.0.1:8089');
  await copyFile(inRepository('examples/demo-model/evaluation/00000.jpg'), join(folder, 'photo.jpg'));
  const script = request.replaceAll('http://127.0.0.1:8089', address);
  const { stdout } = await run('bash', ['-c', script], { cwd: folder });
  expect(JSON.parse(stdout)).toMatchObject({
    object: 'chat.completion',
    choices: [{ message: { role: 'assistant' }, finish_reason: 'stop' }],
    scenebus: {
      objects: expect.arrayContaining([expect.objectContaining({ source: 'text', boxPixels: expect.any(Array) })]),
    },
  });
  stop.abort();
  expect(await ended).toBe(0);
}, 120_000);

test('takes its key from a file, and says what is wrong with one', async () => {
  const folder = await makeTemporaryFolder('scenebus-serve-');
  const file = join(folder, 'key');
  await writeFile(file, 'two words\n');
  const refused = serve(demoModel, '--port', '0', '--key-file', file, '--cache', folder);
  expect(await refused.ended).toBe(2);
  const key = 'a-key-of-enough-characters';
  await writeFile(file, `${key}\n`);
  const { terminal } = serve(demoModel, '--port', '0', '--key-file', file, '--cache', folder, '--verbose');
  await expect.poll(() => terminal.output(), { timeout: 60_000 }).toContain('/v1\n');
  const address = /http:\S+/.exec(terminal.output())![0];
  expect((await fetch(`${address}/models`)).status).toBe(401);
  expect((await fetch(`${address}/models`, { headers: { authorization: `Bearer ${key}` } })).status).toBe(200);
  expect(terminal.output() + terminal.errors()).not.toContain(key);
}, 120_000);

test('wants a key beyond loopback', async () => {
  const folder = await makeTemporaryFolder('scenebus-serve-');
  const { terminal, ended } = serve(demoModel, '--host', '0.0.0.0', '--port', '0', '--cache', folder);
  expect(await ended).toBe(2);
  expect(terminal.errors()).toContain('--key-file');
}, 120_000);
