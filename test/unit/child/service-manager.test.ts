import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { notifyServiceManager } from 'scenebus/service';
import { describe, expect, it } from 'vitest';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';

/** What systemd would be: a datagram socket, whose messages come as lines of JSON. */
async function listenAt(address: string) {
  const script = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', chr(0), 1))
print('ready', flush=True)
while True: print(json.dumps(s.recv(4096).decode()), flush=True)`;
  const child = spawn('python3', ['-c', script, address], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => (await lines.next()).value as string;
  expect(await next()).toBe('ready');
  return {
    next: async () => JSON.parse(await next()) as string,
    async [Symbol.asyncDispose]() {
      child.kill();
      await once(child, 'exit');
    },
  };
}

describe('the service manager', () => {
  it.each([
    ['a path', async () => join(await makeTemporaryFolder('scenebus-notify-'), 'notify')],
    ['an abstract address', async () => `@scenebus-test-${process.pid}`],
  ])('is told at %s, one message each', async (_, makeAddress) => {
    const address = await makeAddress();
    await using manager = await listenAt(address);
    expect(notifyServiceManager('READY=1\nSTATUS=2 cameras', { NOTIFY_SOCKET: address })).toBe(true);
    expect(notifyServiceManager('WATCHDOG=1', { NOTIFY_SOCKET: address })).toBe(true);
    expect(await manager.next()).toBe('READY=1\nSTATUS=2 cameras');
    expect(await manager.next()).toBe('WATCHDOG=1');
  });

  it('that is not there, or cannot be reached, is not missed', () => {
    expect(notifyServiceManager('READY=1', {})).toBe(false);
    expect(notifyServiceManager('READY=1', { NOTIFY_SOCKET: '' })).toBe(false);
    expect(notifyServiceManager('READY=1', { NOTIFY_SOCKET: '/nowhere/notify' })).toBe(false);
    expect(notifyServiceManager('READY=1', { NOTIFY_SOCKET: `/${'x'.repeat(200)}` })).toBe(false);
  });
});
