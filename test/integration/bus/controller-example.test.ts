import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { connectBus } from '#sdk/bus/index.js';
import { startEmbedded, until } from '../../support/brokers.js';
import { observation } from '../../support/observations.js';

const EXAMPLE = fileURLToPath(new URL('../../../dist/examples/controller.js', import.meta.url));

it('the controller example follows a device, asks it, stops for a person, and ends cleanly', async () => {
  await using broker = await startEmbedded();
  await using bus = await connectBus({ url: broker.url, device: 'demo' });
  bus.onAsk(async ({ question }) => observation(`Asked: ${question}`));
  const child = spawn(process.execPath, [EXAMPLE, broker.url, 'demo', 'red cup'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  await until(() => output.includes('red cup at 160, 240, 320, 360 of 640×480'));
  expect(output).toContain('demo is online');
  expect(output).toContain('Asked: Where is the red cup?');

  const scene = observation('A person walks by.');
  const frame = { ...scene.frame, capturedAtMs: Date.now() };
  const objects = scene.answer.objects.map((object) => ({ ...object, label: 'person' }));
  await bus.publishScene('cam0', { ...scene, frame, answer: { ...scene.answer, objects } });
  await until(() => output.includes('stop: person at x 0.25–0.50'));
  await bus.publishScene('cam0', { ...scene, frame });
  await until(() => /^drive$/m.test(output));
  await bus.publishScene('cam0', observation('An old frame.'));
  await until(() => output.includes('stop: the last scene is too old'));

  child.kill('SIGTERM');
  expect(await exited).toEqual([0, null]);
});
