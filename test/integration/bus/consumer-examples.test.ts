/** The examples for Python and the shell, as they lie in examples/bus. */
import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { connectClient } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bus, clientAccess, connectBus, deviceAccess } from '#sdk/bus/index.js';
import { BROKERS, startMosquitto, type TestBroker, until } from '../../support/brokers.js';
import { observation } from '../../support/observations.js';

const FOLDER = fileURLToPath(new URL('../../../examples/bus/', import.meta.url));
/** Debian's: another Python in the path has no paho. */
const PYTHON = '/usr/bin/python3';
const run = promisify(execFile);

describe.each(BROKERS)('the consumer examples against $name', ({ version, start }) => {
  let broker: TestBroker;
  let bus: Bus;
  beforeAll(async () => {
    broker = await start();
    bus = await connectBus({ url: broker.url, device: 'kitchen', protocolVersion: version });
    bus.onAsk(async ({ question }) => observation(`Asked: ${question}`));
  });
  afterAll(async () => {
    await bus.close();
    await broker[Symbol.asyncDispose]();
  });

  test('ask.sh asks, with quotes and backslashes, and says by its exit code whether there was an answer', async () => {
    const env = { ...process.env, PORT: String(broker.port), SECONDS_TO_WAIT: '20' };
    const question = 'Is "the \\ door" open?';
    const { stdout } = await run(`${FOLDER}ask.sh`, ['kitchen', question], { env });
    expect(JSON.parse(stdout)).toMatchObject({ status: 'ok', data: { question, text: `Asked: ${question}` } });
    await expect(run(`${FOLDER}ask.sh`, ['kitchen', ''], { env })).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringContaining('ERR_REQUEST_INVALID'),
    });
  });

  test('watch.sh prints descriptions and events', async () => {
    await bus.publishScene('cam0', observation('A cup.'));
    const child = spawn(`${FOLDER}watch.sh`, ['kitchen', 'cam0'], {
      env: { ...process.env, PORT: String(broker.port), COUNT: '2' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await until(() => output.includes('A cup.'));
    await publishEvent(bus);
    expect(await ended).toBe(0);
    const lines = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toMatchObject([{ text: 'A cup.' }, { watch: 'door', type: 'new', value: true }]);
  });

  test('follow.py follows and asks', async () => {
    await bus.publishScene('cam0', observation('A cup.'));
    const args = ['--port', String(broker.port), '--device', 'kitchen', '--timeout', '20'];
    const more = version === 5 ? ['--mqtt5'] : [];
    const { stdout } = await run(PYTHON, [`${FOLDER}follow.py`, ...args, ...more, 'Where is the cup?']);
    expect(stdout.split('\n')).toEqual(
      expect.arrayContaining([
        'device: online',
        'scene of cam0: A cup.',
        'answer: Asked: Where is the cup?',
        'object: red cup [160, 240, 320, 360]',
      ]),
    );
    await expect(run(PYTHON, [`${FOLDER}follow.py`, ...args, ...more, ' '])).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ERR_REQUEST_INVALID'),
    });
    const child = spawn(PYTHON, [`${FOLDER}follow.py`, ...args, ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    await until(() => output.includes('scene of cam0'));
    await publishEvent(bus);
    await until(() => output.includes('event of cam0: door new True'));
    child.kill();
  });
});

async function publishEvent(bus: Bus): Promise<void> {
  const { frame, model } = observation();
  await bus.publishEvent('cam0', {
    ...{ frame, model, watch: 'door', eventId: 'e1', type: 'new', question: 'Open?', answerType: 'yes-no' },
    ...{ value: true, previous: false, probability: 0.9, startedAtMs: 0, evidence: { objects: [] } },
  });
}

describe('mosquitto.acl', () => {
  const acl = readFileSync(`${FOLDER}mosquitto.acl`, 'utf8');

  test('grants what the contract says, and nothing else', () => {
    const device = deviceAccess('scenebus', 'kiosk-3');
    const controller = clientAccess('scenebus', 'kiosk-3');
    const lines = (user: string, { publish, subscribe, subscribeOptional }: typeof device): string[] => [
      `user ${user}`,
      ...publish.map((topic) => `topic write ${topic}`),
      ...new Set([...subscribe, ...subscribeOptional].map((topic) => `topic read ${topic}`)),
    ];
    const rules = acl.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    expect(rules).toEqual([...lines('kiosk-3', device), ...lines('controller', controller)]);
  });

  test('is enough at a Mosquitto that reads it', async () => {
    const { stdout: passwords } = await run('sh', [
      '-c',
      'f=$(mktemp); mosquitto_passwd -b -c "$f" kiosk-3 p 2>/dev/null; mosquitto_passwd -b "$f" controller p 2>/dev/null; cat "$f"; rm "$f"',
    ]);
    await using broker = await startMosquitto(
      'listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/passwords\nacl_file {folder}/acl\n',
      { passwords, acl },
    );
    await using bus = await connectBus({ url: broker.url, device: 'kiosk-3', username: 'kiosk-3', password: 'p' });
    bus.onAsk(async () => observation('Yes.'));
    await using client = await connectClient({ url: broker.url, username: 'controller', password: 'p' });
    const event = new Promise<string>((resolve) => client.onEvent('kiosk-3', ({ eventId }) => resolve(eventId)));
    expect((await client.ask('kiosk-3', 'Who?', { timeoutMs: 20_000 })).text).toBe('Yes.');
    await publishEvent(bus);
    expect(await event).toBe('e1');
    const forbidden = connectBus({ url: broker.url, device: 'other', username: 'kiosk-3', password: 'p' });
    await expect(forbidden).rejects.toMatchObject({ code: 'ERR_BUS_REJECTED' });
  });
});
