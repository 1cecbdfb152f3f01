import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import { describe, expect, test } from 'vitest';
import { childEnvironment } from '#sdk/child/environment.js';
import { LastLines } from '#sdk/child/last-lines.js';

async function read(...chunks: string[]): Promise<{ told: string[]; kept: string }> {
  const told: string[] = [];
  const lines = new LastLines((line) => told.push(line));
  const pipe = new PassThrough();
  lines.read(pipe);
  for (const chunk of chunks) pipe.write(chunk);
  pipe.end();
  await finished(pipe);
  return { told, kept: lines.text };
}

describe('what a child writes', () => {
  test('is told line by line, whatever pieces it comes in, the unfinished last line too', async () => {
    expect((await read('one\ntw', 'o\n\nthree')).told).toEqual(['one', 'two', 'three']);
  });

  test('is kept by its last twenty lines, each cut to a bounded length', async () => {
    const { kept } = await read(...Array.from({ length: 100 }, (_, i) => `${i} ${'x'.repeat(1000)}\n`));
    expect(kept.split('\n').map((line) => line.slice(0, 2))).toEqual(Array.from({ length: 20 }, (_, i) => `${80 + i}`));
    expect(kept.length).toBeLessThan(20 * 501);
  });

  test('does not gather when no line ever ends', async () => {
    const { kept } = await read(...Array.from({ length: 100 }, () => 'x'.repeat(100_000)));
    expect(kept).toHaveLength(500);
  });
});

describe('the environment of a child', () => {
  test('has what engines look for, no secrets, and nothing that is meant for the parent alone', () => {
    const engine = { PATH: '/bin', CUDA_VISIBLE_DEVICES: '0', XDG_CACHE_HOME: '/c', SCENEBUS_NATIVE_DIR: '/n' };
    const secrets = {
      SCENEBUS_MQTT_PASSWORD: 'a',
      SCENEBUS_MQTT_USERNAME: 'b',
      SCENEBUS_CAMERA_PIN: 'c',
      HF_TOKEN: 'd',
      OPENAI_API_KEY: 'e',
      db_password: 'f',
    };
    expect(childEnvironment({ ...engine, ...secrets, NODE_OPTIONS: '--inspect=9229', NODE_CHANNEL_FD: '3' })).toEqual(
      engine,
    );
  });
});
