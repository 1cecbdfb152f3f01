/** The executable as people start it: child processes, signals, a foreign client listening. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { startMosquitto, type TestBroker } from '../support/brokers.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';

const inRepository = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const executable = inRepository('dist/device/cli/main.js');

// Processes that load a model, on machines that do other things as well.
vi.setConfig({ testTimeout: 300_000 });

let broker: TestBroker;
let cache: string;
beforeAll(async () => {
  broker = await startMosquitto();
  cache = await makeTemporaryFolder('scenebus-e2e-');
});
afterAll(() => broker[Symbol.asyncDispose]());

const children = new Set<ChildProcess>();
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** A child process with its output collected; `line` waits until some output fits. */
function start(file: string, args: readonly string[]) {
  const child = spawn(file, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, XDG_CACHE_HOME: cache, NO_COLOR: '1' },
  });
  children.add(child);
  let output = '';
  let waiters: (() => void)[] = [];
  const wake = () => {
    for (const waiter of waiters.splice(0)) waiter();
  };
  const read = (chunk: Buffer) => {
    output += chunk.toString();
    wake();
  };
  child.stdout.on('data', read);
  child.stderr.on('data', read);
  let ended = false;
  const exit = new Promise<number | string | null>((resolve) => {
    child.on('close', (code, signal) => {
      ended = true;
      children.delete(child);
      wake();
      resolve(code ?? signal);
    });
  });
  return {
    child,
    exit,
    output: () => output,
    async line(pattern: RegExp): Promise<RegExpExecArray> {
      for (;;) {
        const match = pattern.exec(output);
        if (match !== null) return match;
        if (ended) throw new Error(`ended without ${pattern}:\n${output}`);
        await new Promise<void>((resolve) => {
          waiters = [...waiters, resolve];
        });
      }
    },
  };
}
const scenebus = (...args: string[]) => start(process.execPath, [executable, ...args]);
const subscribe = () =>
  start('mosquitto_sub', ['-h', '127.0.0.1', '-p', String(broker.port), '-t', 'scenebus/#', '-v', '-F', '%t %r %p']);

describe('scenebus demo', () => {
  test('runs the main job for so long as it is told, heard by a foreign client', async () => {
    const listener = subscribe();
    const demo = scenebus('demo', '--for', '20', '--broker', broker.url);
    expect(await demo.exit).toBe(0);
    const summary = /Summary: (\d+) descriptions and 2 answers in \d+ s/.exec(demo.output());
    expect(Number(summary?.[1]), demo.output()).toBeGreaterThanOrEqual(3);
    expect(demo.output()).toContain('from a second terminal');
    expect(demo.output()).toContain('mosquitto_rr');

    await listener.line(/demo\/availability 0 .*"stopped"/);
    const heard = listener.output().split('\n').filter(Boolean);
    const payloads = (ending: string) =>
      heard
        .filter((line) => line.split(' ')[0]?.endsWith(ending))
        .map((line) => JSON.parse(line.slice(line.indexOf('{'))));
    expect(payloads('/availability').map(({ state }) => state)).toEqual(['online', 'stopped']);
    expect(payloads('/camera/table/status').map(({ state }) => state)).toContain('running');
    expect(payloads('/info').at(-1).model).toMatchObject({ weights: 'int4', writesBoxes: true });
    expect(payloads('/camera/table/scene')).toHaveLength(Number(summary?.[1]));
    const answers = payloads('/response');
    expect(answers.map(({ status, data }) => [status, data.question])).toEqual([
      ['ok', 'Where is the red cup?'],
      ['ok', 'List all objects with their boxes.'],
    ]);
    expect(answers[1].data.objects.length).toBeGreaterThan(0);
    // What a second terminal is told to type is what was asked here.
    expect(heard.some((line) => line.startsWith('scenebus/demo/request/ask '))).toBe(true);
  });

  test('brings its own broker, answers a second terminal, and Ctrl-C ends it cleanly', async () => {
    const demo = scenebus('demo', '--device', 'second');
    const [, url = ''] = await demo.line(/bus ask second "[^"]+" --broker (\S+)/);
    const ask = scenebus('bus', 'ask', 'second', 'Is there a book?', '--broker', url);
    expect(await ask.exit, ask.output()).toBe(0);
    expect(ask.output()).toMatch(/Yes|No/);

    const { port } = new URL(url);
    const topic = 'scenebus/second';
    const foreign = start('mosquitto_rr', [
      ...['-V', '311', '-h', '127.0.0.1', '-p', port, '-t', `${topic}/request/ask`, '-e', `${topic}/response/ask`],
      ...['-m', '{"question":"Is there a book?"}'],
    ]);
    expect(await foreign.exit).toBe(0);
    expect(JSON.parse(foreign.output())).toMatchObject({ status: 'ok', data: { question: 'Is there a book?' } });

    demo.child.kill('SIGINT');
    expect(await demo.exit).toBe(0);
    expect(demo.output()).toMatch(/second\/availability {2}stopped\n\nSummary: \d+ descriptions and 2 answers/);
  });

  test('ends cleanly when it is interrupted while it starts', async () => {
    const demo = scenebus('demo', '--broker', broker.url);
    await demo.line(/SceneBus demo/);
    demo.child.kill('SIGINT');
    expect([0, 130]).toContain(await demo.exit);
    expect(demo.output()).not.toContain('    at ');
  });
});

describe('scenebus run', () => {
  test('serves as the configuration says until SIGTERM, and says `stopped`', async () => {
    const config = join(cache, 'config.yaml');
    writeFileSync(
      config,
      [
        'version: 1',
        'device: kiosk',
        `model: { directory: ${JSON.stringify(inRepository('examples/demo-model/checkpoint'))}, quantize: int4 }`,
        'cameras:',
        `  - { id: table, address: ${JSON.stringify(inRepository('examples/clips/tabletop.mp4'))}, loop: true }`,
        `broker: { url: ${JSON.stringify(broker.url)} }`,
        'journal: { directory: state }',
      ].join('\n'),
    );
    const listener = subscribe();
    const service = scenebus('run', '--config', config);
    await service.line(/device kiosk is running on mqtt:/);
    const ask = scenebus('bus', 'ask', 'kiosk', 'Is there a book?', '--broker', broker.url, '--json');
    expect(await ask.exit, ask.output()).toBe(0);
    expect(JSON.parse(ask.output().slice(ask.output().indexOf('{')))).toMatchObject({
      device: 'kiosk',
      camera: 'table',
    });
    service.child.kill('SIGTERM');
    expect(await service.exit).toBe(0);
    await listener.line(/kiosk\/availability 0 .*"stopped"/);

    const log = scenebus('log', 'search', '--config', config, '--kind', 'answer', 'book');
    expect(await log.exit, log.output()).toBe(0);
    expect(log.output()).toMatch(/ answer table Is there a book\? /);
  });

  test('refuses a wrong configuration with 2', async () => {
    const config = join(cache, 'wrong.yaml');
    writeFileSync(config, 'version: 1\nmodel: {}\ncameras: []\n');
    const service = scenebus('run', '--config', config);
    expect(await service.exit).toBe(2);
    expect(service.output()).toMatch(/error ERR_CONFIG_INVALID: .*\n {2}line 2: model\.directory/);
  });
});
