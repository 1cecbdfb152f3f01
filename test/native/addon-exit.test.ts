import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);

const PRELUDE = `
  import { Worker } from 'node:worker_threads';
  import { createImageProcessor } from '#sdk/image/index.js';
  import { openMappedFile } from '#sdk/native/index.js';
  const processor = createImageProcessor({ tileSize: 560, maxTiles: 4, supportedAspectRatios: [[1, 1], [2, 2]],
    rescaleFactor: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1] });
  const image = { width: 1920, height: 1080, format: 'rgb8', data: new Uint8Array(1920 * 1080 * 3) };
`;

/** A program of its own, in the package's folder so that its imports resolve. Rejects on a signal or a bad status. */
const program = (body: string) => run(process.execPath, ['--input-type=module', '-e', PRELUDE + body]);

test.each([
  ['ends by itself when work is done', 'await processor.process(image); console.log("done");'],
  ['ends with work still running', 'processor.process(image); console.log("done"); process.exit(0);'],
  ['ends with a file still mapped', 'globalThis.file = openMappedFile("package.json"); console.log("done");'],
])('%s', async (_, body) => {
  const { stdout, stderr } = await program(body);
  expect(stdout).toBe('done\n');
  expect(stderr).toBe('');
});

test('survives a worker thread that is stopped in the middle of work', async () => {
  const { stdout } = await program(`
    for (let i = 0; i < 5; i += 1) {
      const worker = new Worker(${JSON.stringify(PRELUDE)} + \`
        import { parentPort } from 'node:worker_threads';
        openMappedFile('package.json');
        for (let n = 0; n < 8; n += 1) processor.process(image);
        parentPort.postMessage('busy');
      \`, { eval: true, execArgv: ['--input-type=module'] });
      await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
      await worker.terminate();
    }
    const { numTiles } = await processor.process(image);
    console.log('alive', numTiles);
  `);
  expect(stdout).toBe('alive 4\n');
});
