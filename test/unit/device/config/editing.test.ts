import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ConfigFileStore } from '#device/config/editing/config-store.js';
import { diffLines } from '#device/config/editing/diff.js';
import { applyChanges, type PropertyPath } from '#device/config/editing/edit.js';
import { brokerAddress, cameraAddress, shownAddress } from '#device/config/editing/web-addresses.js';
import { isWhollyOpen, whyClosed } from '#device/config/editing/web-policy.js';

const FILE = `# The kiosk at the door.
version: 1
model: { directory: models/m }   # ours
x-base: &base { rotation: 90, fps: 10 }
cameras:
  - id: front        # looks at the counter
    address: "0"
    <<: *base
  - id: door
    address: 'rtsp://viewer:\${SCENEBUS_CAMERA_PASSWORD}@10.0.0.7/stream'
    reopen: &again { attempts: 3 }
  - { id: back, address: csi:0, reopen: *again }
# Less often at night.
describe:
  maxSilenceSeconds: 60 # a minute
log: info
`;

describe('changes of a text', () => {
  test('keep comments, quotes and references, and touch only their own line', () => {
    const text = applyChanges(FILE, [
      { path: ['describe', 'maxSilenceSeconds'], value: 30 },
      { path: ['cameras', 0, 'prompt'], value: 'Who is there?' },
    ]);
    const lines = diffLines(FILE, text).filter(({ kind }) => kind !== 'same');
    expect(lines).toEqual([
      { kind: 'added', text: '    prompt: Who is there?' },
      { kind: 'removed', text: '  maxSilenceSeconds: 60 # a minute' },
      { kind: 'added', text: '  maxSilenceSeconds: 30 # a minute' },
    ]);
  });

  test('what came from a merge key or an alias becomes its own', () => {
    const text = applyChanges(FILE, [
      { path: ['cameras', 0, 'fps'], value: 5 },
      { path: ['cameras', 2, 'reopen', 'attempts'], value: 9 },
    ]);
    expect(text).toContain('x-base: &base { rotation: 90, fps: 10 }');
    expect(text).toContain('    <<: *base\n    fps: 5\n');
    expect(text).toContain('reopen: &again { attempts: 3 }');
    expect(text).toContain('{ id: back, address: csi:0, reopen: { attempts: 9 } }');
  });

  test('take away, add to a list, make a section', () => {
    const text = applyChanges(FILE, [
      { path: ['describe', 'maxSilenceSeconds'] },
      { path: ['cameras', 1] },
      { path: ['cameras', 3], value: { id: 'new', address: 'csi:1' } },
      { path: ['ask', 'perCaller', 'burst'], value: 3 },
      {
        path: ['cameras', 0, 'masks'],
        value: [
          [
            [0, 0],
            [0.5, 0],
            [0.5, 1],
          ],
        ],
      },
    ]);
    expect(text).not.toContain('maxSilenceSeconds');
    expect(text).not.toContain('id: door');
    // Its anchor went with it.
    expect(text).toContain('{ id: back, address: csi:0, reopen: { attempts: 3 } }');
    expect(text).toContain('  - id: new\n    address: csi:1\n');
    expect(text).toContain('ask:\n  perCaller:\n    burst: 3\n');
    expect(text).toContain('    masks: [ [ [ 0, 0 ], [ 0.5, 0 ], [ 0.5, 1 ] ] ]\n');
  });

  test('JSON stays JSON', () => {
    const text = applyChanges('{"version":1,"ask":{"queueLength":8}}', [{ path: ['ask', 'stale'], value: 'refuse' }], {
      isJson: true,
    });
    expect(JSON.parse(text)).toEqual({ version: 1, ask: { queueLength: 8, stale: 'refuse' } });
  });

  test.each([
    [['log', 'x']],
    [['cameras', 7, 'fps']],
    [['cameras', 'front', 'fps']],
    [['cameras', 9]],
    [['__proto__', 'polluted', 0]],
  ])('a path that leads nowhere is refused or harmless: %o', (path) => {
    try {
      applyChanges(FILE, [{ path: path as PropertyPath, value: 1 }]);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    }
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe('the file', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'scenebus-config-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  test('is replaced as a whole behind a link, with its mode, and the version before is kept', async () => {
    const real = join(folder, 'real.yaml');
    await writeFile(real, 'version: 1\n', { mode: 0o640 });
    await symlink(real, join(folder, 'config.yaml'));
    const store = new ConfigFileStore(join(folder, 'config.yaml'));
    expect(await store.readPrevious()).toBeUndefined();
    await store.write('version: 1\nlog: warn\n');
    expect(await readFile(real, 'utf8')).toBe('version: 1\nlog: warn\n');
    expect((await stat(real)).mode & 0o777).toBe(0o640);
    expect(await store.readPrevious()).toBe('version: 1\n');
    expect(await store.whyReadOnly()).toBeUndefined();
  });

  test('that cannot be written is said to be so, and stays', async () => {
    const store = new ConfigFileStore(join(folder, 'nothing', 'config.yaml'));
    expect(await store.whyReadOnly()).toMatch(/must be writable/);
    await expect(store.write('x')).rejects.toMatchObject({ code: 'ERR_DISK_FULL' });
  });
});

test('what names files, runs something, opens ports or lets people in is closed to browsers', () => {
  for (const path of [
    'version',
    'device',
    'root',
    'model.directory',
    'model.remote.url',
    'model.remote.pictures.send',
    'model.cacheDirectory',
    'model.acceptLlamaLicense',
    'cameras.0.tls.verify',
    'cameras.0.tls.caFile',
    'broker.passwordFile',
    'broker.tls.keyFile',
    'embeddedBroker.host',
    'journal.directory',
    'journal.enabled',
    'console.host',
    'console.hosts',
    'console.networkHosts',
    'console.tls.keyFile',
    'metrics.host',
    'watches.0.question',
    'cameras.0.something.new',
    '__proto__.x',
    'constructor',
  ])
    expect(whyClosed(path.split('.')), path).toEqual(expect.any(String));
  for (const path of ['cameras.3.masks', 'describe.change.mean', 'ask.stale', 'log', 'console.liveFps'])
    expect(whyClosed(path.split('.')), path).toBeUndefined();
  expect(isWhollyOpen(['describe'])).toBe(true);
  expect(isWhollyOpen(['cameras', 0])).toBe(false);
  expect(isWhollyOpen(['console'])).toBe(false);
});

describe('addresses from a browser', () => {
  const camera = (
    wanted: string,
    current?: string,
    networkHosts: readonly string[] = ['10.0.0.9', 'cam.local', '::1'],
  ) => cameraAddress({ wanted, current, networkHosts: [...networkHosts] });

  test.each([
    '0',
    '/dev/video1',
    'v4l2:/dev/video1',
    '/dev/v4l/by-id/usb-Cam-index0',
    'csi:3',
    'test:moving',
    'rtsp://10.0.0.9/a',
    'http://u:p@CAM.local:80/x',
    'rtsp://[::1]/x',
  ])('%s may be chosen', (address) => expect(camera(address)).toEqual({ value: address }));

  test.each([
    '/etc/passwd',
    'clip.mp4',
    'file:///etc/shadow',
    'file:clip.mp4?loop',
    '/dev/sda',
    '/dev/../etc/passwd',
    '/dev/v4l/by-id/../../sda',
    'test:hang',
    'rtsp://10.0.0.8/',
    'http://169.254.169.254/latest/meta-data',
    'http://127.0.0.1:8088/api/session',
    'http://localhost/',
    'http://10.0.0.9.evil.example/',
    'http://10.0.0.9@evil.example/',
    `rtsp://u:\${SCENEBUS_MQTT_PASSWORD}@10.0.0.9/`,
    'rtsp://***@10.0.0.9/',
    'ftp://10.0.0.9/x',
    'rtsp://10.0.0.9/x\nlog: debug',
    "rtsp://10.0.0.9/x ! filesink location='/tmp/x'",
    'v4l2src ! filesink',
    '',
  ])('%j may not', (address) => {
    const { value, refusal } = camera(address);
    // A quoted address is safe for the pipeline; one that names another host is not asked.
    if (value !== undefined) expect(address).toContain('10.0.0.9/x !');
    else expect(refusal).toEqual(expect.any(String));
  });

  test('another path of the same camera keeps its user and password; another host does not get them', () => {
    const current = `rtsp://viewer:\${SCENEBUS_CAMERA_PASSWORD}@10.0.0.7/main`;
    expect(camera('rtsp://10.0.0.7/sub', current, [])).toEqual({
      value: `rtsp://viewer:\${SCENEBUS_CAMERA_PASSWORD}@10.0.0.7/sub`,
    });
    expect(camera('rtsp://10.0.0.9/sub', current)).toEqual({ value: 'rtsp://10.0.0.9/sub' });
    expect(camera('rtsp://10.0.0.7:99/sub', current, [])).toHaveProperty('refusal');
    expect(camera('http://10.0.0.7/sub', current, [])).toHaveProperty('refusal');
  });

  test("the broker's too", () => {
    const decide = (wanted: string) => brokerAddress({ wanted, current: 'mqtt://broker.local', networkHosts: [] });
    expect(decide('mqtt://broker.local')).toEqual({ value: 'mqtt://broker.local' });
    expect(decide('mqtt://evil.example')).toHaveProperty('refusal');
    expect(decide('mqtts://broker.local')).toHaveProperty('refusal');
  });

  test('are shown without what is secret in them', () => {
    expect(shownAddress('rtsp://a:p@ss@10.0.0.7/x?user=me&pw=secret')).toBe('rtsp://10.0.0.7/x?user=***&pw=***');
    expect(shownAddress('/dev/video0')).toBe('/dev/video0');
  });
});
