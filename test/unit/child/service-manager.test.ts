import { join } from 'node:path';
import { notifyServiceManager } from 'scenebus/service';
import { describe, expect, test } from 'vitest';
import { startServiceManager } from '../../support/service-manager.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';

describe('the service manager', () => {
  test.each([
    ['a path', async () => join(await makeTemporaryFolder('scenebus-notify-'), 'notify')],
    ['an abstract address', async () => `@scenebus-test-${process.pid}`],
  ])('is told at %s, one message each', async (_, makeAddress) => {
    const address = await makeAddress();
    await using manager = await startServiceManager(address);
    expect(notifyServiceManager('READY=1\nSTATUS=2 cameras', { NOTIFY_SOCKET: address })).toBe(true);
    expect(notifyServiceManager('WATCHDOG=1', { NOTIFY_SOCKET: address })).toBe(true);
    await manager.next((message) => message === 'WATCHDOG=1');
    expect(manager.messages).toEqual(['READY=1\nSTATUS=2 cameras', 'WATCHDOG=1']);
  });

  test('that is not there, or cannot be reached, is not missed', () => {
    expect(notifyServiceManager('READY=1', {})).toBe(false);
    expect(notifyServiceManager('READY=1', { NOTIFY_SOCKET: '' })).toBe(false);
    expect(notifyServiceManager('READY=1', { NOTIFY_SOCKET: '/nowhere/notify' })).toBe(false);
    expect(notifyServiceManager('READY=1', { NOTIFY_SOCKET: `/${'x'.repeat(200)}` })).toBe(false);
  });
});
