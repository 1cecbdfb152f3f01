/**
 * What happens to a device in the field, done to a real one: `scenebus run`, its capture and model processes, a real
 * broker. After each fault the service is up, it said why it was not, it answers, and its memory is what it was.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import mqtt from 'mqtt';
import { type BusClient, connectClient } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Proxy as BrokerProxy, startMosquitto, startProxy, type TestBroker } from '../support/brokers.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';

const inRepository = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const DEVICE = 'victim';
const FAULT_MS = 120_000;
/** Of the service itself, over what it had before a fault: collected only now and then. */
const MEMORY_ALLOWANCE_BYTES = 96 * 2 ** 20;

let broker: TestBroker;
let proxy: BrokerProxy;
let client: BusClient;
let device: ChildProcess;
let log = '';
const table: { readonly fault: string; readonly recoveryMs: number }[] = [];

beforeAll(async () => {
  const folder = await makeTemporaryFolder('scenebus-fault-');
  broker = await startMosquitto();
  proxy = await startProxy(broker.port);
  const config = join(folder, 'config.json');
  await writeFile(
    config,
    JSON.stringify({
      version: 1,
      device: DEVICE,
      model: { directory: inRepository('examples/demo-model/checkpoint'), cacheDirectory: folder },
      cameras: [{ id: 'cam', address: 'test:moving', timeoutMs: 2_000, describe: false }],
      broker: { url: proxy.url, keepaliveSeconds: 5 },
      journal: { directory: folder },
      healthIntervalSeconds: 1,
    }),
  );
  device = spawn(process.execPath, [inRepository('dist/device/cli/main.js'), 'run', '--config', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  device.stderr!.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  client = await connectClient(broker.url);
  await until('running');
}, FAULT_MS);

afterAll(async () => {
  console.log(table.map(({ fault, recoveryMs }) => `${fault}: ${(recoveryMs / 1000).toFixed(1)} s`).join('\n'));
  const ended = once(device, 'exit');
  device.kill('SIGTERM');
  await ended;
  await client.close();
  await proxy[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
});

/** The first health message from now on that says so; its problems in one text. */
async function until(state: 'running' | 'degraded'): Promise<string> {
  for await (const health of client.health(DEVICE))
    if (health.state === state) return health.problems.map(({ code, message }) => `${code} ${message}`).join('\n');
  throw new Error('the client was closed');
}

const ask = () => client.ask(DEVICE, 'What is there?', { timeoutMs: 60_000 });

/** Asks until there is an answer: callers are told to come back, and do. */
async function askAgain(): Promise<string> {
  for (;;) {
    try {
      return (await ask()).text;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

function childOf(name: string): number {
  const found = readdirSync('/proc').find((entry) => {
    try {
      const isChild =
        /^\d+$/.test(entry) &&
        readFileSync(`/proc/${entry}/stat`, 'utf8').split(') ')[1]!.split(' ')[1] === String(device.pid);
      return isChild && readFileSync(`/proc/${entry}/cmdline`, 'utf8').includes(name);
    } catch {
      return false; // ended meanwhile
    }
  });
  if (found === undefined) throw new Error(`no child ${name}`);
  return Number(found);
}

function memoryBytes(): number {
  return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${device.pid}/status`, 'utf8'))![1]);
}

async function afterwards(fault: string, startedAtMs: number, memoryBefore: number): Promise<void> {
  expect(await askAgain()).not.toBe('');
  table.push({ fault, recoveryMs: performance.now() - startedAtMs });
  expect(device.exitCode).toBeNull();
  expect(memoryBytes()).toBeLessThan(memoryBefore + MEMORY_ALLOWANCE_BYTES);
}

describe('a process of the device', () => {
  test.each([
    ['model', 'SIGKILL', 'sdk/model/process', /ERR_ENGINE_DIED/],
    ['model', 'SIGSTOP', 'sdk/model/process', /ERR_ENGINE_DIED/],
    ['capture', 'SIGKILL', 'sdk/capture/host', /ERR_CAPTURE/],
    ['capture', 'SIGSTOP', 'sdk/capture/host', /ERR_CAPTURE/],
  ] as const)(
    '(%s) that gets %s is replaced, and why is visible',
    { timeout: FAULT_MS },
    async (part, signal, path, reason) => {
      await askAgain();
      const before = memoryBytes();
      const degraded = until('degraded');
      const logged = log.length;
      const startedAtMs = performance.now();
      const pid = childOf(path);
      process.kill(pid, signal);
      // A capture process is back within a fraction of a second: health may never see it gone, the log does.
      const said = await Promise.race([degraded, logAfter(logged, reason)]);
      expect(said).toMatch(reason);
      await afterwards(`${part} ${signal}`, startedAtMs, before);
      expect(childOf(path)).not.toBe(pid);
    },
  );
});

async function logAfter(position: number, reason: RegExp): Promise<string> {
  while (!reason.test(log.slice(position)) && !/cam: reopening/.test(log.slice(position)))
    await new Promise((resolve) => setTimeout(resolve, 50));
  return reason.exec(log.slice(position))?.[0] ?? 'ERR_CAPTURE (reopening)';
}

describe('a broker', () => {
  test('that is away and comes back without its retained messages is told everything again', {
    timeout: FAULT_MS,
  }, async () => {
    await askAgain();
    const before = memoryBytes();
    proxy.close();
    await client.close();
    await broker.kill();
    const startedAtMs = performance.now();
    await broker.restart();
    proxy.open();
    client = await connectClient(broker.url);
    for await (const { state } of client.availability(DEVICE)) if (state === 'online') break;
    for await (const { cameras } of client.info(DEVICE)) {
      expect(cameras).toEqual(['cam']);
      break;
    }
    await afterwards('broker restarts, retained gone', startedAtMs, before);
    expect(log).toMatch(/broker .* cannot be reached|connection .*broker/i);
  });
});

describe('strangers', () => {
  test('that send 1 000 hostile messages are refused; the service goes on', { timeout: FAULT_MS }, async () => {
    await askAgain();
    const before = memoryBytes();
    const startedAtMs = performance.now();
    const stranger = await mqtt.connectAsync(broker.url, { protocolVersion: 5, reconnectPeriod: 0 });
    const topics = [
      'request/ask',
      'request/describe',
      'request/nothing',
      'request/watch/add',
      'camera/cam/describe/set',
    ];
    for (let i = 0; i < 1_000; i++) {
      const topic = `scenebus/${DEVICE}/${topics[i % topics.length]}`;
      const properties =
        i % 7 === 0 ? { responseTopic: ['$SYS/x', `scenebus/${DEVICE}/info`, 'elsewhere/y'][i % 3]! } : {};
      await stranger.publishAsync(topic, hostile(i), { qos: 1, retain: i % 50 === 0, properties });
    }
    await stranger.endAsync();
    await afterwards('1 000 hostile messages', startedAtMs, before);
    for await (const { state, metrics } of client.health(DEVICE)) {
      if (metrics!.requestsRefused! < 300) continue;
      expect(state).toBe('running');
      break;
    }
  });
});

function hostile(i: number): string | Buffer {
  const kinds: (() => string | Buffer)[] = [
    () => '',
    () => '{',
    () => 'null',
    () => '['.repeat(20_000),
    () => `${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`,
    () => Buffer.from(Array.from({ length: 200 }, (_, n) => (n * 31 + i * 17) % 256)),
    () => JSON.stringify({ question: 'x'.repeat(100_000) }),
    () => JSON.stringify({ question: { toString: 1 } }),
    () => '{"__proto__":{"question":"x"},"question":7}',
    () => JSON.stringify({ question: 'x', camera: '../../etc', timeoutMs: -1 }),
    () => JSON.stringify({ question: 'x', timeoutMs: 'soon', surprise: i }),
    () => `{"question":"\\ud800","transaction":${'9'.repeat(400)}}`,
    () => Buffer.alloc(300_000, i),
  ];
  return kinds[i % kinds.length]!();
}
