import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { consoleInvitation } from '#device/app/console-link.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

const address = 'http://127.0.0.1:8088';
const link = `${address}/#token=secret`;
const service = { consoleAddress: address, makeConsoleLink: () => link };

describe('what is said of the console', () => {
  test('holds the link on a terminal, and leaves no file', async () => {
    expect(await consoleInvitation(service, { isTerminal: true, file: '/nowhere/console-link' })).toBe(link);
  });

  test('names a file of 0600 where a log is written, also when one of another mode was there', async () => {
    const file = join(await makeTemporaryFolder('scenebus-link-'), 'new', 'console-link');
    for (const _ of ['first', 'again']) {
      const said = await consoleInvitation(service, { isTerminal: false, file });
      expect(said).toContain(`is in ${file}`);
      expect(said).toContain(address);
      expect(said).not.toContain('secret');
      expect(readFileSync(file, 'utf8')).toBe(`${link}\n`);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      chmodSync(file, 0o644);
      writeFileSync(`${file}.part`, '', { mode: 0o644 });
    }
  });

  test('never holds the link where the file cannot be written, or there is none', async () => {
    for (const file of [`${import.meta.filename}/console-link`, undefined]) {
      const said = await consoleInvitation(service, { isTerminal: false, file });
      expect(said).toContain(address);
      expect(said).not.toContain('secret');
    }
  });

  test('is the address where a password lets people in, nothing where there is no console', async () => {
    const withPassword = { consoleAddress: address, makeConsoleLink: () => undefined };
    expect(await consoleInvitation(withPassword, { isTerminal: false, file: '/nowhere/console-link' })).toBe(address);
    const none = { consoleAddress: undefined, makeConsoleLink: () => undefined };
    expect(await consoleInvitation(none, { isTerminal: true, file: undefined })).toBeUndefined();
  });
});
