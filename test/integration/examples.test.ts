/** The programs in examples/, as a reader runs them (describe-image: readme-example.test.ts). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { loadModel, silentLogger } from 'scenebus';
import { openEmbeddedBroker } from 'scenebus/bus';
import { connectClient, type Scene } from 'scenebus/client';
import { describe, expect, test } from 'vitest';
import { ModelServer } from '#device/openai/server.js';

const repository = fileURLToPath(new URL('../..', import.meta.url));

function start(
  example: string,
  ...args: string[]
): { child: ChildProcess; ended: Promise<{ code: number | null; output: string }> } {
  const child = spawn(process.execPath, [`dist/examples/${example}.js`, ...args], {
    cwd: repository,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  return { child, ended: once(child, 'close').then(([code]) => ({ code: code as number | null, output })) };
}

describe('examples', () => {
  test('ask-camera streams an answer and tells its speed', async () => {
    const { code, output } = await start('ask-camera', 'examples/clips/tabletop.mp4', 'Where is the red cup?').ended;
    expect(output).toMatch(/red cup at \d+, \d+, \d+, \d+ \(\d\.\d\d\)/);
    expect(output).toMatch(/first token after \d+ ms/);
    expect(code).toBe(0);
  });

  test('ask-structured prints values that fit their schemas', async () => {
    const { code, output } = await start('ask-structured').ended;
    expect(output).toMatch(
      /^\d+ × (red cup|blue book|green apple|nothing), (left|right)\na red cup: (yes|no) \([01]\.\d\d\)\n$/,
    );
    expect(code).toBe(0);
  });

  test("openai-client asks with OpenAI's client, and shows text and boxes", async () => {
    await using model = await loadModel('examples/demo-model/checkpoint');
    await using server = await ModelServer.start({ model, port: 0, logger: silentLogger });
    const photo = 'examples/demo-model/evaluation/00000.jpg';
    const { code, output } = await start('openai-client', photo, 'List all objects with their boxes.', server.address)
      .ended;
    expect(output).toMatch(/"label":.*\n(red|blue|green|yellow)[a-z ]* at \d+, \d+, \d+, \d+ \(\d\.\d\d\)\n/);
    expect(code).toBe(0);
  }, 60_000);

  test('publish-scenes publishes what the camera sees until it is interrupted', async () => {
    await using broker = await openEmbeddedBroker({ port: 0 });
    await using client = await connectClient(broker.url);
    const program = start('publish-scenes', 'file:examples/clips/tabletop.mp4?loop', broker.url);
    const scenes: Scene[] = [];
    for await (const scene of client.scenes('example')) {
      scenes.push(scene);
      if (scenes.length === 2) break;
    }
    program.child.kill('SIGINT');
    const { code, output } = await program.ended;
    expect(scenes[0]).toMatchObject({ camera: 'camera0', device: 'example', image: { width: 640, height: 480 } });
    for (const { text } of scenes) expect(output).toContain(text);
    expect(code).toBe(0);
  });
});
