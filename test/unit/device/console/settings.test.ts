/** The configuration over the console's API: what may be changed, what is shown, what is written. */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ConfigFileStore } from '#device/config/editing/config-store.js';
import { loadConfig } from '#device/config/load.js';
import type { DeviceConfig } from '#device/config/schema.js';
import type { ConfigOverview, ConfigPreview, ConfigSaved } from '#device/console/api/settings-schemas.js';
import { startConsole, type TestConsole } from '../../../support/console.js';

const demoModel = fileURLToPath(new URL('../../../../examples/demo-model/checkpoint', import.meta.url));
const PASSWORD = 'p@ss/w#rd';
const FILE = `version: 1
device: fake
model: { directory: ${demoModel} } # trained here
cameras:
  - id: cam # the only one
    address: "rtsp://viewer:\${SCENEBUS_CAMERA_PASSWORD}@127.0.0.1/stream?profile=hidden7"
broker: { url: "mqtt://127.0.0.1:1" }
console:
  tls: { certFile: tls/site.crt, keyFile: tls/private.pem }
journal: { directory: state }
`;

let folder: string;
let file: string;
let served: TestConsole;
let reloaded: DeviceConfig[];
let failure: Error | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-settings-'));
  file = join(folder, 'config.yaml');
  await writeFile(file, FILE);
  reloaded = [];
  failure = undefined;
  served = await startConsole(
    {},
    {
      store: new ConfigFileStore(file),
      environment: { SCENEBUS_CAMERA_PASSWORD: PASSWORD },
      reload: async (next) => {
        if (failure) throw failure;
        reloaded.push(next);
        return { applied: ['log'], needsRestart: [] };
      },
    },
  );
});
afterEach(async () => {
  await served[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const call = async (method: string, path: string, body?: unknown) =>
  await served.json('admin', path, {
    method,
    ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
const overview = async () => (await call('GET', '/api/config')).body as ConfigOverview;
const change = async (...changes: { path: (string | number)[]; value?: unknown }[]) => ({
  revision: (await overview()).revision,
  changes,
});

describe('what is shown', () => {
  test('values as written, with a schema that says what may be changed and why not', async () => {
    const seen = await overview();
    expect(seen).toMatchObject({
      name: 'config.yaml',
      readOnly: null,
      problems: [],
      undo: null,
      values: { device: 'fake', cameras: [{ id: 'cam' }] },
    });
    const properties = seen.schema.properties as Record<string, Record<string, unknown>>;
    expect(properties.log).not.toHaveProperty('readOnly');
    expect(properties.log).toMatchObject({ title: 'Log level', enum: expect.arrayContaining(['warn']) });
    expect(properties.root).toMatchObject({ readOnly: true, 'x-reason': expect.stringContaining('journal') });
    const model = properties.model as { properties: Record<string, object> };
    expect(model.properties.directory).toMatchObject({ readOnly: true });
    expect(model.properties.threads).not.toHaveProperty('readOnly');
  });

  test('no secret and no path of a key, in no answer', async () => {
    const preview = await call('POST', '/api/config/preview', await change({ path: ['log'], value: 'warn' }));
    await call('PUT', '/api/config', await change({ path: ['cameras', 0, 'fps'], value: 5 }));
    const texts = [preview, await call('GET', '/api/config')].map(({ body }) => JSON.stringify(body));
    for (const text of texts)
      for (const secret of [PASSWORD, encodeURIComponent(PASSWORD), 'viewer', 'hidden7', 'private.pem', folder])
        expect(text).not.toContain(secret);
    expect(texts[1]).toContain('(set)');
    expect((await overview()).secrets).toContainEqual(
      expect.objectContaining({ id: 'camera-cam', isSet: true, fixed: expect.any(String) }),
    );
  });

  test('what the file says and only a restart honours', async () => {
    await call('PUT', '/api/config', await change({ path: ['model', 'threads'], value: 2 }));
    expect((await overview()).needsRestart).toContain('model.threads');
  });
});

describe('a change', () => {
  test('is previewed, written with its comments kept, applied, and taken back', async () => {
    const body = await change({ path: ['describe', 'maxSilenceSeconds'], value: 5 }, { path: ['log'], value: 'warn' });
    const preview = (await call('POST', '/api/config/preview', body)).body as ConfigPreview;
    expect(preview).toMatchObject({
      problems: [],
      applied: expect.arrayContaining(['describe.maxSilenceSeconds', 'log']),
    });
    expect(preview.diff.filter(({ kind }) => kind === 'added').map(({ text }) => text)).toEqual([
      'describe:',
      '  maxSilenceSeconds: 5',
      'log: warn',
    ]);
    expect(await readFile(file, 'utf8')).toBe(FILE);
    const saved = await call('PUT', '/api/config', body);
    expect(saved).toMatchObject({ status: 200, body: { applied: ['log'], failure: null } });
    expect(reloaded).toMatchObject([{ log: 'warn', describe: { maxSilenceSeconds: 5 } }]);
    const text = await readFile(file, 'utf8');
    expect(text).toContain('# the only one');
    expect(text).toContain(`viewer:\${SCENEBUS_CAMERA_PASSWORD}@`);
    const { revision, undo } = await overview();
    expect(undo).toContainEqual({ kind: 'removed', text: 'log: warn' });
    expect(await call('POST', '/api/config/undo', { revision })).toMatchObject({ status: 200 });
    expect(await readFile(file, 'utf8')).toBe(FILE);
    expect(reloaded[1]).toMatchObject({ log: 'info' });
  });

  test('of a file that was changed meanwhile is refused', async () => {
    const body = await change({ path: ['log'], value: 'warn' });
    await writeFile(file, `${FILE}# by hand\n`);
    for (const [method, path] of [
      ['POST', '/api/config/preview'],
      ['PUT', '/api/config'],
    ] as const)
      expect(await call(method, path, body)).toMatchObject({
        status: 409,
        body: { error: { code: 'CONFIG_CHANGED' } },
      });
    expect(await readFile(file, 'utf8')).toBe(`${FILE}# by hand\n`);
  });

  test('of two at the same time one is refused, and none is lost', async () => {
    const one = await change({ path: ['log'], value: 'warn' });
    const two = { ...one, changes: [{ path: ['snapshots'], value: true }] };
    const both = await Promise.all([call('PUT', '/api/config', one), call('PUT', '/api/config', two)]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
  });

  test('that is wrong is refused with its place, and nothing is written', async () => {
    const body = await change({ path: ['ask', 'queueLength'], value: 0 }, { path: ['cameras', 0, 'fpss'], value: 5 });
    const preview = (await call('POST', '/api/config/preview', body)).body as ConfigPreview;
    expect(preview.problems.map(({ path }) => path)).toEqual([['cameras', 0, 'fpss']]);
    const wrong = await change({ path: ['ask', 'queueLength'], value: 0 });
    expect((await call('POST', '/api/config/preview', wrong)).body).toMatchObject({
      problems: [{ path: ['ask', 'queueLength'], message: expect.stringContaining('>=1') }],
    });
    expect(await call('PUT', '/api/config', wrong)).toMatchObject({
      status: 400,
      body: { error: { code: 'CONFIG_INVALID' } },
    });
    expect(await readdir(folder)).toEqual(['config.yaml']);
  });

  test.each([
    [['model', 'directory'], '/etc'],
    [['console', 'host'], '0.0.0.0'],
    [['console', 'networkHosts'], ['evil.example']],
    [['console'], {}],
    [['broker'], { url: 'mqtt://127.0.0.1:1' }],
    [['cameras', 0], { id: 'cam', address: '0' }],
    [['cameras'], []],
    [['cameras', 0, 'address'], '/etc/passwd'],
    [['cameras', 0, 'address'], 'http://169.254.169.254/'],
    [['cameras', 1], { id: 'b', address: '/etc/passwd' }],
    [['cameras', 1], { id: 'b', address: '0', tls: { caFile: '/etc/passwd' } }],
    [['broker', 'url'], 'mqtt://evil.example'],
    [['describe', 'prompt'], `Say \${SCENEBUS_MQTT_PASSWORD}`],
    [['x-mine'], 1],
    [['__proto__', 'log'], 'warn'],
    [['constructor'], 1],
  ])('of %o to %o is refused', async (path, value) => {
    expect(await call('PUT', '/api/config', await change({ path, value }))).toMatchObject({
      status: 400,
      body: { error: { code: 'CONFIG_INVALID' } },
    });
    expect(await readFile(file, 'utf8')).toBe(FILE);
    expect(reloaded).toEqual([]);
  });

  test('that takes away what is closed is refused', async () => {
    for (const path of [['console'], ['console', 'tls'], ['model', 'directory'], ['broker'], ['journal']])
      expect(await call('PUT', '/api/config', await change({ path }))).toMatchObject({ status: 400 });
  });

  test('cameras come and go', async () => {
    const added = await call(
      'PUT',
      '/api/config',
      await change({ path: ['cameras', 1], value: { id: 'new', address: 'csi:0' } }),
    );
    expect(added.status).toBe(200);
    expect(reloaded.at(-1)?.cameras.map(({ id }) => id)).toEqual(['cam', 'new']);
    expect((await call('PUT', '/api/config', await change({ path: ['cameras', 0] }))).status).toBe(200);
    expect(reloaded.at(-1)?.cameras.map(({ id }) => id)).toEqual(['new']);
    const { undo, revision } = await overview();
    // Its address is one that a browser may not write: taken away, it may be put back all the same.
    expect(undo?.some(({ kind, text }) => kind === 'added' && text.includes('id: cam'))).toBe(true);
    expect((await call('POST', '/api/config/undo', { revision })).status).toBe(200);
    expect(reloaded.at(-1)?.cameras.map(({ id }) => id)).toEqual(['cam', 'new']);
  });

  test('going back does not undo what only the file may say', async () => {
    await call('PUT', '/api/config', await change({ path: ['log'], value: 'warn' }));
    const byHand = (await readFile(file, 'utf8')).replace('private.pem', 'other.pem');
    await writeFile(file, byHand);
    const { revision, undo } = await overview();
    expect(undo).toBeNull();
    expect(await call('POST', '/api/config/undo', { revision })).toMatchObject({ status: 409 });
    expect(await readFile(file, 'utf8')).toBe(byHand);
  });

  test('that is written but cannot be applied is said to be so', async () => {
    failure = new Error('The service is starting.');
    const saved = (await call('PUT', '/api/config', await change({ path: ['log'], value: 'warn' })))
      .body as ConfigSaved;
    expect(saved.failure).toBe('The service is starting.');
    expect(await readFile(file, 'utf8')).toContain('log: warn');
  });
});

describe('a secret', () => {
  test('is replaced in a file of its own that nobody else reads, and never shown', async () => {
    const { revision } = await overview();
    const secret = 'c0rrect h@rse';
    // The running device of this test knows a broker.
    await using device = await startConsole(
      { broker: { url: 'mqtt://127.0.0.1:1' } },
      { store: new ConfigFileStore(file) },
    );
    const put = (id: string) =>
      device.json('admin', `/api/config/secrets/${id}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ revision, value: secret }),
      });
    expect(await put('../../etc')).toMatchObject({ status: 404 });
    // The file refers to a variable that this device does not have: it is not made worse.
    expect(await put('broker-password')).toMatchObject({ status: 400 });
  });

  test('of the broker is written where the configuration names it from then on', async () => {
    const own = join(folder, 'plain.yaml');
    const text = `version: 1
device: hall
model: { directory: ${demoModel} }
cameras: [{ id: cam, address: test:moving }]
broker:
  url: mqtt://127.0.0.1:1
  username: hall
`;
    await writeFile(own, text);
    await using device = await startConsole(
      { broker: { url: 'mqtt://127.0.0.1:1', username: 'hall' } },
      { store: new ConfigFileStore(own) },
    );
    const secret = 'c0rrect h@rse';
    const { revision } = (await device.json('admin', '/api/config')).body as { revision: string };
    const { status, body } = await device.json('admin', '/api/config/secrets/broker-password', {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ revision, value: secret }),
    });
    expect(status).toBe(200);
    const name = /passwordFile: (broker-password-[0-9a-f]{8})\n/.exec(await readFile(own, 'utf8'))?.[1];
    expect(await readFile(join(folder, name!), 'utf8')).toBe(`${secret}\n`);
    expect((await stat(join(folder, name!))).mode & 0o777).toBe(0o600);
    expect(JSON.stringify([body, (await device.json('admin', '/api/config')).body])).not.toContain(secret);
    // The service reads it as any other.
    expect((await loadConfig(own, {})).secrets.mqttPassword).toBe(secret);
  });
});

const HOSTILE_PATHS: unknown[] = [
  [],
  ['__proto__'],
  ['cameras', '__proto__'],
  ['cameras', -1],
  ['cameras', 1e9],
  ['cameras', 0, 'masks', 0, 0, 0, 0, 0],
  [null],
  'log',
  ['log', ''],
  ['a'.repeat(200)],
];
const HOSTILE_VALUES: unknown[] = [
  null,
  [],
  {},
  '',
  '\u0000',
  'x'.repeat(40_000),
  '!!js/function',
  '*alias',
  '&anchor x',
  '<<',
  { __proto__: 1 },
  { '<<': { log: 'debug' } },
  [[[]]],
  1e308,
  true,
];

test('what strangers send as changes is refused in words, and leaves the file correct', async () => {
  const failures: string[] = [];
  const { revision } = await overview();
  for (const path of [...HOSTILE_PATHS, ['describe', 'prompt'], ['cameras', 0, 'masks'], ['cameras', 1], ['ask']])
    for (const value of HOSTILE_VALUES) {
      const { status } = await call('POST', '/api/config/preview', { revision, changes: [{ path, value }] });
      if (status >= 500) failures.push(`${JSON.stringify(path)} ${JSON.stringify(value)?.slice(0, 40)}: ${status}`);
    }
  expect(failures).toEqual([]);
  expect(await readFile(file, 'utf8')).toBe(FILE);
});
