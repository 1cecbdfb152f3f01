/** What examples/controller.ts is for: a robot stops when a person comes into the picture, and drives when they leave. */
import { spawn } from 'node:child_process';
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { startEmbedded } from '../../support/brokers.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { deviceName, lend, loadDemoModel, makeConfig, startService } from './demo-device.js';

const repository = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const picture = (number: string) => repository(`examples/demo-model/evaluation/${number}.jpg`);
/** By scenes.jsonl. */
const [WITHOUT_PERSON, WITH_PERSON] = ['00001', '00014'];

test('the controller stops for a person and drives on when nobody is there', async () => {
  const folder = join(await makeTemporaryFolder('scenebus-controller-'), 'pictures');
  await mkdir(folder);
  await copyFile(picture(WITHOUT_PERSON), join(folder, '0.jpg'));
  await copyFile(picture(WITH_PERSON), join(folder, '1.jpg'));
  await using broker = await startEmbedded();
  await using model = await loadDemoModel(await makeTemporaryFolder('scenebus-controller-model-'));
  const cameras = [{ id: 'front', address: folder, loop: true, describe: false }];
  await using _service = await startService(await makeConfig({ broker: { url: broker.url }, cameras }), {
    parts: lend(model),
  });
  const controller = spawn(process.execPath, [repository('dist/examples/controller.js'), broker.url, deviceName]);
  try {
    let output = '';
    const said = new Promise<void>((resolve, reject) => {
      const onOutput = (chunk: Buffer) => {
        output += chunk.toString();
        if (/stop: a person before front[^\n]*\n(.*\n)*?drive\n/.test(output)) resolve();
      };
      controller.stdout.on('data', onOutput);
      controller.stderr.on('data', onOutput);
      controller.once('exit', () => reject(new Error(output)));
    });
    await said;
    expect(output).toContain('the device watches for people');
    // Where the box is, in words, though the model writes JSON.
    expect(output).not.toContain('"box"');
  } finally {
    controller.kill('SIGTERM');
  }
}, 120_000);
