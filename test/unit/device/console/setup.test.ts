/** The set-up, the licences and the diagnostics bundle over the console's API. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { strFromU8, unzipSync } from 'fflate';
import { SdkError } from 'scenebus';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { licences } from '#device/app/licences.js';
import { licencesSchema, type Setup, type SetupStepState, setupSchema } from '#device/console/api/setup-schemas.js';
import { startConsole, streamingModel, type TestConsole } from '../../../support/console.js';
import { fakeFrame, fakeModel } from '../../../support/device-fakes.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-setup-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** Dark on one side, bright on the other. */
function picture() {
  const frame = fakeFrame(1, 10);
  frame.data.fill(200, frame.data.length / 2);
  return frame;
}

async function check(served: TestConsole, step: string): Promise<SetupStepState> {
  const { status, body } = await served.json('admin', '/api/setup/check', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ step }),
  });
  expect(status).toBe(200);
  return body as SetupStepState;
}

const setup = async (served: TestConsole): Promise<Setup> =>
  setupSchema.parse((await served.json('admin', '/api/setup')).body);
const doneOf = ({ steps }: Setup): string[] => steps.filter(({ isDone }) => isDone).map(({ id }) => id);

describe('the set-up', () => {
  test('checks each step for real, and knows after a restart how far it has come', async () => {
    const setupFile = join(folder, 'setup.json');
    const { model } = fakeModel();
    {
      await using served = await startConsole({}, { setupFile, model, frame: picture() });
      expect(doneOf(await setup(served))).toEqual([]);
      expect(await check(served, 'camera')).toMatchObject({ isDone: true, reason: expect.stringContaining('64 × 48') });
      expect(await check(served, 'model')).toMatchObject({
        isDone: true,
        reason: expect.stringContaining('ask cam-1'),
      });
      const body = JSON.stringify({ isLeft: true });
      const headers = { 'content-type': 'application/json' };
      expect((await served.fetch('admin', '/api/setup', { method: 'PUT', headers, body })).status).toBe(204);
      await expect.poll(() => readFile(setupFile, 'utf8')).toContain('"model"');
    }
    await using again = await startConsole({}, { setupFile, model, frame: picture() });
    const resumed = await setup(again);
    expect(doneOf(resumed)).toEqual(['camera', 'model']);
    expect(resumed.isLeft).toBe(true);
    expect(await check(again, 'broker')).toMatchObject({
      isDone: true,
      reason: expect.stringContaining('back in 3 ms'),
    });
    expect(doneOf(await setup(again))).toEqual(['camera', 'model', 'broker']);
  });

  test('a camera that delivers counts, one that did and stalls does not', async () => {
    await using served = await startConsole({}, {});
    const stalled = { state: 'stalled', frameTs: Date.now(), framesPerSecond: null, reason: 'no frame for 5 s' };
    await served.context.hub.emit('status', stalled as never, { camera: 'cam' });
    expect(doneOf(await setup(served))).toEqual([]);
    await served.context.hub.emit('status', { ...stalled, state: 'running', reason: null } as never, { camera: 'cam' });
    expect(doneOf(await setup(served))).toEqual(['camera']);
  });

  test('a question that is answered is its last step, whoever asked', async () => {
    await using served = await startConsole({}, { model: streamingModel() });
    const headers = { 'content-type': 'application/json' };
    const asked = await served.fetch('operator', '/api/ask', { method: 'POST', headers, body: '{"question":"What?"}' });
    await asked.text();
    expect(doneOf(await setup(served))).toEqual(['model', 'question']);
  });

  test('says in words why a step fails, and what to do', async () => {
    const down = new SdkError('ERR_ENGINE_DIED', 'The model is not there now.');
    const refusal = new SdkError('ERR_BUS_UNREACHABLE', 'The broker cannot be reached.');
    await using served = await startConsole(
      {},
      { model: down, frame: fakeFrame(1, 90), checkBroker: () => Promise.reject(refusal) },
    );
    expect(await check(served, 'camera')).toMatchObject({
      isDone: false,
      reason: 'Camera cam delivers a picture of one colour.',
      remedy: expect.stringContaining('cap'),
    });
    expect(await check(served, 'model')).toMatchObject({
      isDone: false,
      reason: down.message,
      remedy: expect.any(String),
    });
    expect(await check(served, 'broker')).toMatchObject({
      isDone: false,
      reason: refusal.message,
      remedy: expect.any(String),
    });
    served.context.feeds[0]!.latest = new SdkError('ERR_CAPTURE_TIMEOUT', 'no frame yet');
    expect(await check(served, 'camera')).toMatchObject({ isDone: false, reason: 'no frame yet' });
    expect(doneOf(await setup(served))).toEqual([]);
  });

  test('a camera whose privacy is on is not looked at', async () => {
    await using served = await startConsole({}, { frame: picture() });
    await served.context.hub.emit('setting', { setting: 'privacy', value: true }, { camera: 'cam' });
    expect(await check(served, 'camera')).toMatchObject({ isDone: false, reason: expect.stringContaining('privacy') });
  });
});

describe('licences', () => {
  test('of a Llama model: why, its texts and what they ask for', async () => {
    await writeFile(join(folder, 'LICENSE.txt'), 'LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n…');
    await writeFile(join(folder, 'USE_POLICY.md'), '# Llama 3.2 Acceptable Use Policy');
    await writeFile(join(folder, 'secret.txt'), 'none of its business');
    const { model, product } = licencesSchema.parse(await licences(folder, 'kiosk-model'));
    expect(model.llama).toBe('LICENSE.txt is the Llama Community License');
    expect(model.texts.map(({ name }) => name)).toEqual(['LICENSE.txt', 'USE_POLICY.md']);
    expect(model.duties.join('\n')).toContain('"Built with Llama"');
    expect(product.map(({ name }) => name)).toEqual(['NOTICE', 'LICENSE']);
    expect(product[0]?.text).toContain('Copyright © Meta Platforms');
  });

  test('of another model: nothing is asked', async () => {
    expect((await licences(folder, 'demo')).model).toEqual({ llama: null, texts: [], duties: [] });
  });
});

test('the diagnostics bundle holds what helps and none of the planted secrets', async () => {
  const secrets = [
    's3cr@t/pass#word',
    's3cr%40t',
    'viewer7',
    'tok3n-planted',
    'hush-hush',
    'site-private.pem',
    'mq-pass.txt',
    'link-secret-9',
  ];
  await writeFile(join(folder, 'mq-pass.txt'), 'hush-hush-mqtt\n');
  const address = 'rtsp://viewer7:s3cr%40t%2Fpass%23word@10.0.0.7/stream?token=tok3n-planted&profile=1';
  await using served = await startConsole({
    cameras: [{ id: 'cam', address }],
    broker: {
      url: 'mqtt://broker.local',
      username: 'robot',
      passwordFile: join(folder, 'mq-pass.txt'),
      tls: { keyFile: join(folder, 'site-private.pem') },
    },
  });
  const logger = served.log;
  logger.log('warn', `cannot open ${address}: 401`);
  logger.log('warn', 'cannot open rtsp://viewer7:s3cr@t/pass#word@10.0.0.7/stream');
  logger.log('error', `cannot read ${join(folder, 'mq-pass.txt')}`);
  logger.log('error', `ENOENT: no such file, open '${join(folder, 'site-private.pem')}'`);
  logger.log('info', 'Console: http://127.0.0.1:8088/#token=link-secret-9');
  logger.log('info', 'a line that helps');
  const response = await served.fetch('admin', '/api/diagnostics');
  expect(response.headers.get('content-type')).toBe('application/zip');
  expect(response.headers.get('content-disposition')).toMatch(
    /^attachment; filename="scenebus-fake-\d{4}-\d\d-\d\d\.zip"$/,
  );
  const bytes = new Uint8Array(await response.arrayBuffer());
  const files = Object.entries(unzipSync(bytes)).map(([name, content]) => [name, strFromU8(content)] as const);
  expect(files.map(([name]) => name).sort()).toEqual([
    'README.txt',
    'config.yaml',
    'doctor.json',
    'health.json',
    'licences.json',
    'log.txt',
    'state.json',
    'versions.json',
  ]);
  for (const [name, text] of [...files, ['the zip itself', Buffer.from(bytes).toString('latin1')] as const])
    for (const secret of secrets) expect(text, `${secret} in ${name}`).not.toContain(secret);
  const text = new Map(files);
  expect(text.get('log.txt')).toContain('a line that helps');
  expect(text.get('config.yaml')).toContain('10.0.0.7/stream');
  expect(text.get('config.yaml')).toContain('# mqttPassword: set');
  expect(JSON.parse(text.get('doctor.json') ?? '')).toContainEqual(expect.objectContaining({ id: 'node' }));
});
