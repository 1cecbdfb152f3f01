import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);
const executable = fileURLToPath(new URL('../../native/build/native/common/commonTests', import.meta.url));

test('the C++ tests of what all parts of the addons share pass', async () => {
  // A failed check makes the exit status 1, and its message part of the rejection.
  const { stdout } = await run(executable);
  expect(stdout).toMatch(/[1-9]\d* cases, 0 failed checks/);
});
