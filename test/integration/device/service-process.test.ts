/** `scenebus run` as a process: what its service manager is told, and what signals do. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectClient } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startMosquitto, type TestBroker } from '../../support/brokers.js';
import { startServiceManager } from '../../support/service-manager.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';

const inRepository = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const command = inRepository('dist/device/cli/main.js');

let folder: string;
let broker: TestBroker;
beforeAll(async () => {
  folder = await makeTemporaryFolder('scenebus-service-process-');
  broker = await startMosquitto();
});
afterAll(() => broker[Symbol.asyncDispose]());

/** With descriptions only now and then: what is tested is not the model. */
async function configOf(device: string, more: object = {}): Promise<string> {
  const file = join(folder, `${device}.json`);
  const config = {
    version: 1,
    device,
    model: { directory: inRepository('examples/demo-model/checkpoint'), cacheDirectory: folder, isolation: 'none' },
    cameras: [{ id: 'a', address: 'test:checker', describe: false }],
    broker: { url: broker.url },
    journal: { enabled: false },
    ...more,
  };
  await writeFile(file, JSON.stringify(config));
  return file;
}

function closed(child: ChildProcess): Promise<[number | null, string | null]> {
  return once(child, 'close') as Promise<[number | null, string | null]>;
}

describe('a device under systemd', () => {
  test('says when it is ready, that it lives, that it reloads, and that it stops; SIGHUP applies a new configuration', async () => {
    const address = `@scenebus-service-${process.pid}`;
    await using manager = await startServiceManager(address);
    const config = await configOf('managed');
    const environment = {
      ...process.env,
      NOTIFY_SOCKET: address,
      WATCHDOG_USEC: '200000',
      STATE_DIRECTORY: join(folder, 'state'),
    };
    const child = spawn(process.execPath, [command, 'run', '--config', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: environment,
      detached: true, // without the terminal that a developer's test may have
    });
    const ended = closed(child);
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
    expect(manager.messages.length === 0 || manager.messages[0]!.startsWith('EXTEND_TIMEOUT_USEC')).toBe(true);
    await manager.next((message) => message === 'READY=1');
    await manager.next((message) => message === 'WATCHDOG=1');
    await manager.next((message) => message.startsWith('STATUS=running'));
    await using client = await connectClient(broker.url);
    await configOf('managed', { cameras: [{ id: 'b', address: 'test:checker', describe: false }], root: 'elsewhere' });
    child.kill('SIGHUP');
    for await (const { cameras } of client.info('managed')) if (cameras.includes('b')) break;
    await manager.next((message) => message.startsWith('RELOADING=1\nMONOTONIC_USEC='));
    expect((await client.ask('managed', 'What?', { timeoutMs: 30_000 })).camera).toBe('b');

    await writeFile(config, 'version: 1\ncameras: []\n');
    child.kill('SIGHUP');
    while (manager.messages.filter((message) => message === 'READY=1').length < 3)
      await new Promise((resolve) => setTimeout(resolve, 20));
    expect(log).toContain('the configuration was not reloaded, the old one stays in effect');
    const linkFile = join(folder, 'state', 'managed', 'console-link');
    expect(log).toContain(`is in ${linkFile}`);
    expect(log).not.toContain('#token=');
    expect(await readFile(linkFile, 'utf8')).toMatch(/^http:.*#token=/);
    expect((await stat(linkFile)).mode & 0o777).toBe(0o600);
    expect(log).toContain('honoured only after a restart of the service: root');
    expect((await client.ask('managed', 'What?', { timeoutMs: 30_000 })).camera).toBe('b');

    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(manager.messages).toContain('STOPPING=1');
    expect(existsSync(linkFile)).toBe(false);
  });
});

describe('a device that is stopped', () => {
  test('ends within 5 s with a model in a process of its own, and says so on the bus', async () => {
    const model = { directory: inRepository('examples/demo-model/checkpoint'), cacheDirectory: folder };
    const child = spawn(process.execPath, [command, 'run', '--config', await configOf('hanging', { model })], {
      stdio: 'ignore',
    });
    const ended = closed(child);
    await using client = await connectClient(broker.url);
    for await (const { state } of client.health('hanging')) if (state === 'running') break;
    child.kill('SIGTERM');
    const states: string[] = [];
    for await (const { state } of client.availability('hanging')) if (states.push(state) && state !== 'online') break;
    expect(states.at(-1)).toBe('stopped');
    // By its own rule: later than that it would have ended with 1.
    expect((await ended)[0]).toBe(0);
  });

  test('ends at once at the second signal', async () => {
    const child = spawn(process.execPath, [command, 'run', '--config', await configOf('impatient')], {
      stdio: 'ignore',
    });
    const ended = closed(child);
    await using client = await connectClient(broker.url);
    for await (const { state } of client.health('impatient')) if (state === 'running') break;
    child.kill('SIGTERM');
    child.kill('SIGINT');
    expect((await ended)[0]).toBe(130);
  });
});

/** Runs a command on a terminal that goes away when its own input ends. */
const ON_TERMINAL = `
import os, pty, select, sys
pid, terminal = pty.fork()
if pid == 0:
    # Node 20 aborts at its exit when its own stdin is on a terminal that is gone.
    os.dup2(0, 9) # as long as somebody has it open, it is there
    null = os.open('/dev/null', os.O_RDWR)
    for descriptor in 0, 1, 2: os.dup2(null, descriptor)
    os.execvp(sys.argv[1], sys.argv[1:])
while True:
    readable, _, _ = select.select([0, terminal], [], [])
    if terminal in readable: os.read(terminal, 65536)
    if 0 in readable and not os.read(0, 65536): break
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`;

describe('a device whose terminal goes away (SIGHUP)', () => {
  test('announces its stop on the bus and ends with 0', async () => {
    const config = await configOf('hup');
    await using client = await connectClient(broker.url);
    const child = spawn('python3', ['-c', ON_TERMINAL, process.execPath, command, 'run', '--config', config], {
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    const ended = closed(child);
    for await (const { state } of client.health('hup')) if (state !== 'starting') break;
    child.stdin.end();
    const states: string[] = [];
    for await (const { state } of client.availability('hup')) if (states.push(state) && state !== 'online') break;
    expect(states.at(-1)).toBe('stopped');
    expect(await ended).toEqual([0, null]);
  });
});
