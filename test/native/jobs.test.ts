/** The one kind of asynchronous call that the addons have, driven by an addon whose work ends when a test says so. */
import { execFile, execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const run = promisify(execFile);
const file = fileURLToPath(new URL('../../native/build/native/scenebus_jobs_test.node', import.meta.url));

declare const kind: unique symbol;
interface Owner {
  readonly [kind]: 'owner';
}
interface JobsAddon {
  createOwner(bytes: number): Owner;
  releaseOwner(owner: Owner): void;
  run(owner: Owner | null, gate: Int32Array, cancel: Int32Array, kind: string): Promise<number>;
  report(gate: Int32Array, count: number, onNumber: (n: number) => void): Promise<void>;
  fail(): void;
}
const addon: JobsAddon = createRequire(import.meta.url)(file);

const word = () => new Int32Array(1);
const openGate = () => Int32Array.of(1);
const open = (gate: Int32Array) => Atomics.store(gate, 0, 1);

/** A program of its own, with one thread in libuv's pool. Rejects on a signal or a bad status. */
const program = (body: string, ...options: string[]) =>
  run(process.execPath, [...options, '--input-type=module', '-e', `${PRELUDE}${body}`], {
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
  });

const PRELUDE = `
  import { createRequire } from 'node:module';
  import { Worker } from 'node:worker_threads';
  const addon = createRequire(${JSON.stringify(import.meta.url)})(${JSON.stringify(file)});
  const gate = new Int32Array(1), cancel = new Int32Array(1);
`;

describe('settling', () => {
  test('resolves with the result, in the order of the calls of one owner', async () => {
    const owner = addon.createOwner(0);
    const gate = word();
    const calls = Array.from({ length: 20 }, () => addon.run(owner, gate, word(), 'ok'));
    open(gate);
    expect(await Promise.all(calls)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  });

  test.each([
    ['work: bad_alloc', 'ERR_ENGINE_OUT_OF_MEMORY'],
    ['work: unknown', 'ERR_ENGINE_FAILED'],
    ['result: bad_alloc', 'ERR_ENGINE_OUT_OF_MEMORY'],
    ['result: unknown', 'ERR_ENGINE_FAILED'],
  ])('rejects when there is an exception in the %s', async (what, code) => {
    await expect(addon.run(null, openGate(), word(), what)).rejects.toMatchObject({ code });
    expect(await addon.run(null, openGate(), word(), 'ok')).toBe(0);
  });

  test('rejects with the error itself when the result throws one of JavaScript', async () => {
    await expect(addon.run(null, openGate(), word(), 'result: TypeError')).rejects.toThrow(TypeError);
  });

  test('turns an exception in a synchronous call into an Error', () => {
    expect(() => addon.fail()).toThrow(/bad_alloc/);
  });

  test('rejects with ABORTED what is cancelled, also before its turn', async () => {
    const owner = addon.createOwner(0);
    const [gate, cancel] = [word(), word()];
    const calls = [addon.run(owner, gate, cancel, 'ok'), addon.run(owner, openGate(), cancel, 'ok')];
    open(cancel);
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test('runs what uses a handle that was released meanwhile', async () => {
    const owner = addon.createOwner(0);
    const gate = word();
    const call = addon.run(owner, gate, word(), 'ok');
    addon.releaseOwner(owner);
    expect(() => addon.run(owner, gate, word(), 'ok')).toThrow(/released/);
    open(gate);
    expect(await call).toBe(1);
  });

  test('delivers what a call reports in order and before it settles', async () => {
    const numbers: number[] = [];
    await addon.report(openGate(), 1000, (n) => numbers.push(n));
    expect(numbers).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  });

  test('makes what a listener throws an uncaught exception, and goes on', async () => {
    const { stdout } = await program(`
      process.on('uncaughtException', (error) => console.log('uncaught', error.message));
      await addon.report(Int32Array.of(1), 2, (n) => { throw new Error('listener ' + n); });
      console.log('settled');
    `);
    expect(stdout).toBe('uncaught listener 0\nuncaught listener 1\nsettled\n');
  });
});

describe("libuv's pool", () => {
  test('stays free while calls run: fs reads a file with UV_THREADPOOL_SIZE=1', async () => {
    const { stdout } = await program(`
      import { readFile } from 'node:fs/promises';
      const calls = Array.from({ length: 8 }, () => addon.run(addon.createOwner(0), gate, cancel, 'ok'));
      for (let i = 0; i < 8; i += 1) calls.push(addon.run(null, gate, cancel, 'ok'));
      await readFile('package.json');
      console.log('read while', calls.length, 'calls run');
      gate[0] = 1;
      await Promise.all(calls);
    `);
    expect(stdout).toBe('read while 16 calls run\n');
  });

  test('is not needed: every call of the engine addon ends while it is occupied', async () => {
    const folder = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim();
    const pipe = path.join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const { stdout } = await program(`
      import { open } from 'node:fs/promises';
      import { openSync } from 'node:fs';
      import { openCheckpoint } from '#sdk/checkpoint/index.js';
      import { openCpuDecoder } from '#sdk/engine/cpu/decoder.js';
      import { createImageProcessor } from '#sdk/image/index.js';
      import { engineAddon } from '#sdk/native/index.js';
      const checkpoint = await openCheckpoint(${JSON.stringify(path.join(GOLDEN, 'tiny-a'))});
      const blocked = open(${JSON.stringify(pipe)}, 'r'); // waits in the pool's only thread for a writer
      let isOpen = false;
      blocked.then(() => { isOpen = true; });
      const engine = engineAddon();
      const decoder = await openCpuDecoder(checkpoint, { numerics: 'meta', contextLength: 64, threads: 2 });
      const features = new Float32Array(64 * 4).fill(0.5);
      const { handle } = await engine.encodeCpuImage(decoder.handle, features, 4, new Int32Array(1));
      const sequence = engine.createCpuSequence(decoder.handle);
      const logits = new Float32Array(512);
      await engine.forwardCpu(decoder.handle, sequence, Int32Array.of(512, 1), [handle], Int32Array.of(0), 'last', logits,
        new Int32Array(1));
      const processor = createImageProcessor({ tileSize: 56, maxTiles: 4, supportedAspectRatios: [[1, 1]],
        rescaleFactor: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1] });
      await processor.process({ width: 64, height: 64, format: 'rgb8', data: new Uint8Array(64 * 64 * 3) });
      console.log('pool still occupied:', !isOpen);
      openSync(${JSON.stringify(pipe)}, 'r+');
      await (await blocked).close();
    `);
    expect(stdout).toBe('pool still occupied: true\n');
  });
});

describe('the end of the process', () => {
  test.each([
    ['by itself when calls have ended', `await addon.run(null, Int32Array.of(1), cancel, 'ok'); console.log('done');`],
    [
      'only after a call that nobody awaits',
      `addon.run(null, gate, cancel, 'ok').then(() => console.log('done')); setImmediate(() => { gate[0] = 1; });`,
    ],
    [
      'by process.exit in the middle of calls',
      `for (let i = 0; i < 4; i += 1) addon.run(addon.createOwner(0), gate, cancel, 'ok');
       addon.run(null, gate, cancel, 'ok'); console.log('done'); process.exit(0);`,
    ],
    ['with owners that nobody released', `globalThis.owner = addon.createOwner(0); console.log('done');`],
    [
      'by itself after a call was cancelled',
      `const call = addon.run(null, gate, cancel, 'ok'); cancel[0] = 1;
       await call.catch((error) => console.log(error.code === 'ABORTED' ? 'done' : error));`,
    ],
  ])('comes %s', async (_, body) => {
    expect(await program(body)).toEqual({ stdout: 'done\n', stderr: '' });
  });

  test('a worker thread that is stopped cancels its calls and no others', async () => {
    const { stdout, stderr } = await program(`
      const kept = addon.run(addon.createOwner(0), gate, cancel, 'ok');
      for (let i = 0; i < 6; i += 1) {
        const worker = new Worker(${JSON.stringify(PRELUDE)} + \`
          import { parentPort } from 'node:worker_threads';
          const owner = addon.createOwner(1000);
          for (let n = 0; n < 4; n += 1) addon.run(owner, gate, cancel, 'ok');
          for (let n = 0; n < 4; n += 1) addon.run(null, gate, cancel, 'ok');
          addon.report(gate, 100, () => {});
          if (\${i} % 2 === 0) addon.releaseOwner(owner);
          parentPort.postMessage('busy');
        \`, { eval: true, execArgv: ['--input-type=module'] });
        await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
        await worker.terminate();
      }
      gate[0] = 1;
      console.log('alive', await kept);
    `);
    expect({ stdout, stderr }).toEqual({ stdout: 'alive 1\n', stderr: '' });
  });
});

describe('memory held by handles', () => {
  test('is told to the garbage collector, and untold by a release or when the handle is collected', async () => {
    const { stdout } = await program(
      `
      // Node counts only buffers in process.memoryUsage().external.
      const external = () => addon.externalBytes();
      const MB = 2 ** 20;
      const before = external();
      const owner = addon.createOwner(300 * MB);
      console.log(Math.round((external() - before) / MB));
      addon.releaseOwner(owner);
      addon.releaseOwner(owner);
      console.log(Math.round((external() - before) / MB));
      (() => { addon.createOwner(200 * MB); })();
      await new Promise((resolve) => setImmediate(resolve));
      for (let i = 0; i < 100 && external() - before > 100 * MB; i += 1) {
        gc();
        await new Promise((resolve) => setImmediate(resolve));
      }
      console.log(Math.abs(Math.round((external() - before) / MB)));
    `,
      '--expose-gc',
    );
    expect(stdout).toBe('300\n0\n0\n');
  });
});
