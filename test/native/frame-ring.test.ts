import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const run = promisify(execFile);
const stress = join(import.meta.dirname, '../../native/build/native/capture/frameRingStress');

describe('shared-memory frame ring', () => {
  test('gives readers in other processes whole frames only, in order, while the writer runs at full speed', async () => {
    const { stdout } = await run(stress, ['10000', '3']);
    const readers = [...stdout.matchAll(/read (\d+) torn (\d+) backwards (\d+)/g)];
    expect(readers).toHaveLength(3);
    for (const [, frames, torn, backwards] of readers) {
      expect(Number(frames)).toBeGreaterThan(0);
      expect([torn, backwards]).toEqual(['0', '0']);
    }
  });

  test('would notice torn frames: a reader that does not hold its pin sees them', async () => {
    const { stdout } = await run(stress, ['--control']);
    expect(stdout).toMatch(/torn [1-9]/);
  });

  test('leaves no name behind in shared memory', async () => {
    const { stdout } = await run(stress, ['100', '1']);
    const name = /ring \/(scenebus-[0-9a-f]{24})\n/.exec(stdout)?.[1];
    expect(name).toBeDefined();
    expect(readdirSync('/dev/shm')).not.toContain(name);
  });
});
