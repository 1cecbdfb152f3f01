/** What is let go of ends on a thread of its own, and stops neither the process nor a worker thread from ending. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { openCpuDecoder } from '#sdk/engine/cpu/decoder.js';
import { engineAddon } from '#sdk/native/index.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const run = promisify(execFile);
const addon = engineAddon();
const tinyA = path.join(GOLDEN, 'tiny-a');

/** Enough that nothing else in a process changes its size as much: 1.6 GB of addresses, of which none is used. */
const LONG_CONTEXT = 2 ** 22;
const open = async () =>
  openCpuDecoder(await openCheckpoint(tinyA), { numerics: 'meta', contextLength: LONG_CONTEXT, threads: 2 });

const addressSpaceKb = () => Number(/^VmSize:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
const threadNames = () =>
  readdirSync('/proc/self/task').map((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim());

test('gives the memory of a sequence and the threads of a decoder back, without the thread of JavaScript', async () => {
  const decoder = await open();
  const before = addressSpaceKb();
  const sequence = addon.createCpuSequence(decoder.handle);
  const grown = addressSpaceKb() - before;
  expect(grown).toBeGreaterThan(2 ** 20);

  addon.releaseCpuHandle(sequence);
  await expect.poll(() => threadNames()).toContain('scenebus.free');
  await expect.poll(() => addressSpaceKb() - before).toBeLessThan(grown / 2);

  const threads = threadNames().length;
  addon.releaseCpuHandle(decoder.handle);
  // One of two that compute, and the one that calls them.
  await expect.poll(() => threadNames().length).toBe(threads - 2);
});

test('lets a call end that uses what was released meanwhile', async () => {
  const decoder = await open();
  const features = new Float32Array(64 * 4).fill(0.5);
  const sequence = addon.createCpuSequence(decoder.handle);
  const { handle } = await addon.encodeCpuImage(decoder.handle, features, 4, new Int32Array(1));
  const logits = new Float32Array(512);
  const [tokens, at] = [Int32Array.of(512, 1, 2), Int32Array.of(0)];
  const call = addon.forwardCpu(decoder.handle, sequence, tokens, [handle], at, 'last', logits, new Int32Array(1));
  for (const used of [handle, sequence, decoder.handle]) addon.releaseCpuHandle(used);
  await call;
  expect(logits.every(Number.isFinite)).toBe(true);
});

const PRELUDE = `
  import { Worker } from 'node:worker_threads';
  import { openCheckpoint } from '#sdk/checkpoint/index.js';
  import { openCpuDecoder } from '#sdk/engine/cpu/decoder.js';
  import { engineAddon } from '#sdk/native/index.js';
  async function work(addon) {
    const decoder = await openCpuDecoder(await openCheckpoint(${JSON.stringify(tinyA)}),
      { numerics: 'meta', contextLength: 4096, threads: 2 });
    const sequence = addon.createCpuSequence(decoder.handle);
    const features = new Float32Array(64 * 50000).fill(0.5);
    const { handle } = await addon.encodeCpuImage(decoder.handle, features, 50000, new Int32Array(1));
    return [handle, sequence, decoder.handle];
  }
`;

const program = (body: string) => run(process.execPath, ['--input-type=module', '-e', PRELUDE + body]);
const RELEASE = 'for (const handle of await work(engineAddon())) engineAddon().releaseCpuHandle(handle);';

test.each([
  ['by itself after a release', `${RELEASE} console.log('done');`],
  ['by process.exit in the middle of a release', `${RELEASE} console.log('done'); process.exit(0);`],
  ['by itself with everything still held', `globalThis.held = await work(engineAddon()); console.log('done');`],
  ['by itself with handles that nobody released', `await work(engineAddon()); console.log('done');`],
])('a process ends %s', async (_, body) => {
  expect(await program(body)).toEqual({ stdout: 'done\n', stderr: '' });
});

test.each([
  ['the only one that uses the addon', ''],
  ['beside a main thread that uses it', `globalThis.held = await work(engineAddon());`],
])('a worker thread that is stopped in the middle of a release leaves a healthy process: %s', async (_, before) => {
  const { stdout, stderr } = await program(`${before}
    for (let i = 0; i < 4; i += 1) {
      const worker = new Worker(${JSON.stringify(PRELUDE)} + \`
        import { parentPort } from 'node:worker_threads';
        const [image, ...others] = await work(engineAddon());
        engineAddon().releaseCpuHandle(image);
        globalThis.held = others;
        parentPort.postMessage('released');
        if (\${i} % 2 === 0) setInterval(() => {}, 1000);
      \`, { eval: true, execArgv: ['--input-type=module'] });
      const exited = new Promise((resolve) => worker.once('exit', resolve)); // it may exit as its message arrives
      await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
      if (i % 2 === 0) await worker.terminate();
      else await exited;
    }
    ${RELEASE}
    console.log('alive');
  `);
  expect({ stdout, stderr }).toEqual({ stdout: 'alive\n', stderr: '' });
});
