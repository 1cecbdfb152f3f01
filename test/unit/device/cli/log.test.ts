import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { journalFile } from '#device/app/journal-options.js';
import { parseTime } from '#device/cli/commands/log.js';
import { runCli } from '#device/cli/program.js';
import { EventHub } from '#device/events/hub.js';
import { Journal } from '#device/journal/journal.js';
import { captureTerminal } from '../../../support/captured-terminal.js';
import { fakeAnswer, fakeConfig, fakeFrame } from '../../../support/device-fakes.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

let folder: string;
let config: string;

beforeAll(async () => {
  folder = await makeTemporaryFolder('scenebus-log-');
  config = join(folder, 'config.yaml');
  const text = `{ version: 1, device: "..", model: { directory: x }, cameras: [{ id: cam, address: "0" }], journal: { directory: . } }`;
  writeFileSync(config, text);
  const file = journalFile(await fakeConfig({ device: '..', journal: { directory: folder } }));
  const journal = await Journal.open({
    file,
    limits: { maxAgeMs: 1e15, maxBytes: 1e9 },
    encodeJpeg: async ({ sequence }) => Buffer.from(`jpeg ${sequence}`),
  });
  let nowMs = Date.UTC(2026, 10, 30, 8);
  const hub = new EventHub({ recorder: journal, wallMs: () => (nowMs += 60_000) });
  const model = { id: 'Llama-tiny' };
  const ask = (number: number, question: string, text: string) => {
    const body = { verb: 'ask', question, answer: fakeAnswer(text), model, error: null };
    return hub.emit('answer', body, { camera: 'cam', frame: fakeFrame(number) });
  };
  await hub.emit('frame', { frame: fakeFrame(1) }, { camera: 'cam', frame: fakeFrame(1) });
  await ask(1, 'Where is the cup?', 'On the left.');
  await hub.emit(
    'scene',
    { frame: fakeFrame(2), answer: fakeAnswer('A red cup'), model, trigger: 'first' },
    { camera: 'door', frame: fakeFrame(2) },
  );
  await hub.emit('problem', {
    part: 'camera/cam',
    problem: { code: 'ERR_CAPTURE_LOST', message: 'unplugged', retryable: true },
  });
  await ask(3, 'Is there a cup?', 'No.'); // its picture was not kept
  await journal[Symbol.asyncDispose]();
});

async function log(...args: string[]) {
  const terminal = captureTerminal();
  const code = await runCli(['log', ...args], { terminal, environment: {} });
  return { code, out: terminal.output(), err: terminal.errors() };
}

describe('scenebus log', () => {
  test('finds events by words, the newest first, in the device’s own folder whatever it is called', async () => {
    expect(readdirSync(folder).sort()).toEqual(['%2e%2e', 'config.yaml']);
    const { code, out } = await log('search', '--config', config, 'cup');
    expect(code).toBe(0);
    expect(out.trim().split('\n')).toEqual([
      '2026-11-30T08:05:00.000Z answer cam Is there a cup? No.',
      '2026-11-30T08:03:00.000Z scene door A red cup',
      '2026-11-30T08:02:00.000Z answer cam Where is the cup? On the left.',
    ]);
  });

  test('takes phrases, kinds, cameras, times and a limit, and prints JSON lines', async () => {
    const search = async (...args: string[]) => (await log('search', '--config', config, ...args)).out.trim();
    expect(await search('red cup')).toMatch(/A red cup$/);
    expect(await search('cup red')).toBe('');
    expect(await search('--kind', 'problem')).toMatch(/camera\/cam: unplugged$/);
    expect(await search('--kind', 'scene', 'cup')).toMatch(/A red cup$/);
    expect((await search('--kind', 'scene', '--kind', 'answer')).split('\n')).toHaveLength(3);
    expect(await search('--camera', 'door')).toMatch(/^\S+ scene/);
    expect(await search('--from', '2026-11-30T08:05:00Z')).toMatch(/Is there a cup/);
    expect((await search('--limit', '2')).split('\n')).toHaveLength(2);
    const line = JSON.parse(await search('--json', 'left'));
    expect(line).toMatchObject({
      kind: 'answer',
      camera: 'cam',
      question: 'Where is the cup?',
      frame: { id: 'cam-1' },
    });
    expect(line.ts).toBe('2026-11-30T08:02:00.000Z');
  });

  test('exports every event as a line, the oldest first', async () => {
    const { out, err } = await log('export', '--config', config);
    const kinds = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).kind);
    expect(kinds).toEqual(['answer', 'scene', 'problem', 'answer']);
    expect(err).toContain('4 events');
  });

  test('exports questions with pictures as a data set whose card is named as the licence wants it', async () => {
    const target = join(folder, 'kitchen');
    const { code, out, err } = await log('export', '--config', config, '--data-set', target);
    expect(code).toBe(0);
    expect(out).toContain('Llama-kitchen: 1 samples');
    expect(err).toMatch(/1 answers were left out/);
    const [sample] = readFileSync(join(target, 'samples.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line: string) => JSON.parse(line));
    expect(sample).toMatchObject({ prompt: 'Where is the cup?', answer: 'On the left.' });
    expect(readFileSync(join(target, sample.image), 'utf8')).toBe('jpeg 1');
    expect(readFileSync(join(target, 'README.md'), 'utf8')).toMatch(/^# Llama-kitchen\n[\s\S]*Built with Llama/);
    const again = await log('export', '--config', config, '--data-set', target);
    expect(again.code).toBe(2);
    expect(again.err).toMatch(/new or empty folder/);
  });

  test('says what is wrong with its arguments', async () => {
    expect((await log('search', 'cup')).err).toMatch(/--config or --journal/);
    expect((await log('search', '--journal', join(folder, 'none.db'))).err).toMatch(/Cannot read the journal/);
    expect((await log('search', '--config', config, '--from', 'yesterday')).err).toMatch(/2026-11-30T08:00, or 90m/);
    expect((await log('search', '--config', config, '--kind', 'cats')).err).toMatch(/scene, answer/);
    mkdirSync(join(folder, 'off'));
    const off = join(folder, 'off', 'config.yaml');
    writeFileSync(off, readFileSync(config, 'utf8').replace('directory: .', 'enabled: false'));
    expect((await log('export', '--config', off)).err).toMatch(/keeps no journal/);
    expect(existsSync(join(folder, 'none.db'))).toBe(false);
  });

  test('reads times as dates and as so long ago', () => {
    expect(parseTime('90m', undefined, 10_000_000)).toBe(10_000_000 - 5_400_000);
    expect(parseTime('1.5h', undefined, 10_000_000)).toBe(10_000_000 - 5_400_000);
    expect(parseTime('2026-11-30T08:00:00Z')).toBe(Date.UTC(2026, 10, 30, 8));
    expect(() => parseTime('5')).toThrow();
  });
});

describe('the place of a journal', () => {
  test('is the configured folder, systemd’s, or the user’s; different devices never share a file', async () => {
    const at = async (input: Parameters<typeof fakeConfig>[0], environment = {}) =>
      journalFile(await fakeConfig(input), environment);
    expect(await at({ journal: { directory: '/data' } })).toBe('/data/fake/journal.db');
    expect(await at({}, { STATE_DIRECTORY: '/var/lib/scenebus:/x' })).toBe('/var/lib/scenebus/fake/journal.db');
    expect(await at({}, { XDG_STATE_HOME: '/home/u/state' })).toBe('/home/u/state/scenebus/fake/journal.db');
    expect(await at({ journal: { enabled: false } })).toBeUndefined();
    const names = await Promise.all(
      [
        { device: 'a' },
        { device: 'A' },
        { device: '%61' },
        { device: '..' },
        { root: 'b', device: 'a' },
        { device: 'b%2fa' },
      ].map((input) => at({ ...input, journal: { directory: '/d' } })),
    );
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^\/d\/[A-Za-z0-9_%-]+\/journal\.db$/);
  });
});
