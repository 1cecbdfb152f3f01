/** Programs that forget to dispose of a camera, as processes. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('../../..', import.meta.url));

/** Runs a module; rejects when it does not end by itself. */
async function evaluate(source: string): Promise<string> {
  const args = ['--input-type=module', '--eval', `import { openCamera } from 'scenebus';\n${source}`];
  const { stdout } = await run(process.execPath, args, { cwd: repository, timeout: 50_000, killSignal: 'SIGKILL' });
  return stdout.trim();
}
const isRunning = (pid: string) => existsSync(`/proc/${pid}`);

describe('a program that forgets its camera', () => {
  test('ends when its work is done, and the capture process with it', async () => {
    const pid = await evaluate(`
      const camera = await openCamera('test:moving');
      await camera.read();
      for (let i = 0; i < 3; i++) await camera.read();
      console.log(camera.hostPid);`);
    expect(pid).toMatch(/^\d+$/);
    await expect.poll(() => isRunning(pid), { timeout: 20_000 }).toBe(false);
  }, 90_000);

  test('ends while the camera is being opened again', async () => {
    const state = await evaluate(`
      const camera = await openCamera('/dev/video97', { requireFirstFrame: false });
      for await (const { state } of camera.statusChanges()) if (state === 'reopening') break;
      console.log(camera.status.state);`);
    expect(state).toBe('reopening');
  }, 90_000);

  test('runs as long as it waits for a frame', async () => {
    const frames = await evaluate(`
      const camera = await openCamera('test:moving');
      let frames = 0;
      for await (const frame of camera) if (++frames === 20) break;
      console.log(frames);`);
    expect(Number(frames)).toBe(20);
  }, 90_000);
});
