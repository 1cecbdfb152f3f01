import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CameraLens, formatCameraInfo, isSdkError } from 'scenebus';
import { afterAll, describe, expect, test } from 'vitest';
import { describeConfig } from '#device/config/describe.js';
import { loadConfig } from '#device/config/load.js';
import { defaultDeviceName } from '#device/config/schema.js';
import { fakeConfig } from '../../../support/device-fakes.js';

const folder = mkdtempSync(join(tmpdir(), 'scenebus-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

const LENS: CameraLens = {
  width: 640,
  height: 480,
  fx: 500,
  fy: 500,
  cx: 320,
  cy: 240,
  distortionModel: 'plumb_bob',
  distortion: [0, 0, 0, 0, 0],
};

let files = 0;
function write(text: string, name = `config-${++files}.yaml`): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}
const reference = (name: string) => `\${${name}}`;
const minimal = 'version: 1\nmodel: { directory: models/demo }\ncameras:\n  - { id: front, address: "0" }\n';

async function problemsOf(text: string, environment = {}): Promise<string> {
  const error: unknown = await loadConfig(write(text), environment).catch((reason: unknown) => reason);
  if (!isSdkError(error, 'ERR_CONFIG_INVALID')) throw new Error(`Expected ERR_CONFIG_INVALID, got ${error}`);
  return error.message;
}

describe('a configuration file', () => {
  test('is completed by defaults, with paths relative to the file, and frozen', async () => {
    const config = await loadConfig(write(minimal), {});
    expect(config.model.directory).toBe(join(folder, 'models/demo'));
    expect(config.model.backend).toBe('auto');
    expect(config.broker).toBeUndefined();
    expect(config.describe.maxSilenceSeconds).toBe(60);
    expect(config.cameras[0]).toMatchObject({ id: 'front', describe: true, rotation: 0 });
    expect(Object.isFrozen(config.cameras[0])).toBe(true);
    expect(Object.isFrozen(config.describe)).toBe(true);
  });

  test('may have a remote model, with an address that cannot be listened to and pictures that are wanted to be sent', async () => {
    const remote = (more: string) =>
      minimal.replace('models/demo }', `models/demo, remote: { url: "https://gpu.example/v1", model: big, ${more} } }`);
    const sent = 'pictures: { send: true }, minimumProbability: 0.6';
    const config = await loadConfig(write(remote(`${sent}, keyFile: gpu.key`)), {});
    expect(config.model.remote).toMatchObject({
      keyFile: join(folder, 'gpu.key'),
      allowHttp: false,
      pictures: { send: true, jpegQuality: 90 },
      priorities: ['urgent', 'question'],
    });
    expect(await problemsOf(remote(sent).replace('https:', 'http:'))).toMatch(/line 2.*https:\/\/ for another machine/);
    expect(await problemsOf(remote('minimumProbability: 0.6'))).toMatch(/model.remote.pictures/);
    expect(await problemsOf(remote('pictures: { send: false }, maximumWaiting: 2'))).toMatch(/pictures.send/);
    expect(await problemsOf(remote('pictures: { send: true }'))).toMatch(/minimumProbability, maximumWaiting or both/);
    const checked = loadConfig(write(remote(`${sent}, keyFile: gpu.key`)), {}, { check: 'model' });
    await expect(checked).rejects.toThrow(/model.remote.keyFile: Expected a file that can be read/);
  });

  test('may allow response topics and open the embedded broker to pages', async () => {
    const more = `${minimal}responseTopics: [robots/+/answers]\nembeddedBroker: { webSocket: { origins: ["https://kiosk.example"] } }\n`;
    expect(await loadConfig(write(more), {})).toMatchObject({
      responseTopics: ['robots/+/answers'],
      embeddedBroker: { host: '127.0.0.1', webSocket: { port: 9001, origins: ['https://kiosk.example'] } },
    });
    expect(await problemsOf(`${minimal}responseTopics: ["robots/x+"]\n`)).toMatch(/line 5.*topic filter/);
    const both = `${minimal}broker: { url: "mqtt://h" }\nembeddedBroker: {}\n`;
    expect(await problemsOf(both)).toMatch(/not both/);
  });

  test('may say what the lens of a camera is and how it is mounted; a file that says it must be right', async () => {
    const camera = (settings: string) => minimal.replace('"0" }', `"0", ${settings} }`);
    writeFileSync(join(folder, 'front-lens.yaml'), formatCameraInfo(LENS, 'front'));
    const mounted = camera('intrinsics: front-lens.yaml, mounting: { heightMetres: 1.2, pitchDegrees: 30 }');
    const config = await loadConfig(write(mounted), {});
    expect(config.cameras[0]).toMatchObject({
      intrinsics: join(folder, 'front-lens.yaml'),
      mounting: { heightMetres: 1.2, pitchDegrees: 30, yawDegrees: 0, angleSigmaDegrees: 0.5 },
    });
    expect(await problemsOf(camera('mounting: { heightMetres: 1 }'))).toMatch(/line 4: .*mounting: .*`intrinsics`/);
    expect(await problemsOf(camera('intrinsics: a.yaml, mounting: { heightMetres: 0 }'))).toMatch(/heightMetres/);
    mkdirSync(join(folder, 'models/demo'), { recursive: true });
    writeFileSync(join(folder, 'models/demo/config.json'), '{}');
    const problems = async (file: string) =>
      await loadConfig(write(camera(`intrinsics: ${file}`)), {}, { check: 'model' }).then(
        () => 'none',
        (error: Error) => error.message,
      );
    expect(await problems('front-lens.yaml')).toBe('none');
    expect(await problems('gone.yaml')).toMatch(/line 4: cameras\[0\]\.intrinsics: Expected the calibration.*ENOENT/);
    writeFileSync(join(folder, 'zero.yaml'), formatCameraInfo({ ...LENS, fx: 0 }, 'front'));
    expect(await problems('zero.yaml')).toMatch(/never calibrated/);
    writeFileSync(join(folder, 'latin.yaml'), Buffer.from([0x61, 0xe9, 0x0a]));
    expect(await problems('latin.yaml')).toMatch(/line 1 is no UTF-8/);
  });

  test('may say for each camera what is asked, when, and what nobody may see', async () => {
    const more = `${minimal}    prompt: Who waits?\n    change: { mean: 2 }\n    schedule: [{ from: "22:00", to: "06:00" }]\n    masks: [[[0, 0], [0.5, 0], [0, 1]]]\n`;
    expect(
      (await loadConfig(write(more.replace(/- \{ id: front, address: "0" \}/, '- id: front\n    address: "0"')), {}))
        .cameras[0],
    ).toMatchObject({
      prompt: 'Who waits?',
      change: { mean: 2 },
      schedule: [{ from: '22:00', to: '06:00' }],
      masks: [
        [
          [0, 0],
          [0.5, 0],
          [0, 1],
        ],
      ],
    });
    expect((await loadConfig(write(minimal), {})).cameras[0]).toMatchObject({ masks: [] });
    const wrong = minimal.replace('address: "0"', 'address: "0", masks: [[[0, 0], [2, 0], [0, 1]]], prompt: " "');
    expect(await problemsOf(wrong)).toMatch(/cameras\[0\]\.masks\[0\]\[1\]\[0\]/);
    expect(await problemsOf(wrong)).toMatch(/cameras\[0\]\.prompt/);
  });

  test('may be JSON', async () => {
    const json = JSON.stringify({
      version: 1,
      model: { directory: '/m' },
      cameras: [{ id: 'a', address: 'clip.mp4' }],
    });
    expect((await loadConfig(write(json, 'config.json'), {})).model.directory).toBe('/m');
  });

  test('with several mistakes is told all of them at once, each with its line', async () => {
    const text = `${minimal}colour: red\nask:\n  queueLength: 0\n  qeueLength: 3\n`;
    const message = await problemsOf(text);
    expect(message).toMatch(/line 5: colour: Unrecognized key "colour": known here are version, device, /);
    expect(message).toMatch(/line 7: ask\.queueLength: Too small/);
    expect(message).toMatch(/line 8: ask\.qeueLength: Unrecognized key "qeueLength": did you mean queueLength\?/);
  });

  test.each([
    ['is not YAML', 'version: [1', 'line 1'],
    ['lacks a model', 'version: 1\ncameras: [{ id: a, address: "0" }]\n', 'model'],
    ['has no camera', 'version: 1\nmodel: { directory: m }\ncameras: []\n', 'cameras'],
    ['is of a later version', minimal.replace('version: 1', 'version: 2'), 'version'],
    ['names two cameras alike', `${minimal}  - { id: front, address: "1" }\n`, 'an id of its own'],
    ['gives a camera an id that topics cannot hold', minimal.replace('front', 'a/b'), 'cameras[0].id'],
    ['has a broker address of another kind', `${minimal}broker: { url: "http://host" }\n`, 'Expected mqtt://'],
    [
      'gives a wrong type',
      `${minimal}journal: false\n`,
      'journal: Expected settings, as in { name: value }, but received true or false',
    ],
    [
      'lacks a key',
      `${minimal}  - { id: door }\n`,
      'cameras[1].address: Expected text (in quotes, where it looks like something else), but it is missing',
    ],
    ['holds a password', `${minimal}broker: { url: "mqtt://me:secret@host" }\n`, 'SCENEBUS_MQTT_PASSWORD'],
  ])('that %s is refused', async (_, text, part) => {
    expect(await problemsOf(text)).toContain(part);
  });

  test('that multiplies itself with aliases is refused', async () => {
    let text = 'a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n';
    for (let i = 1; i < 9; i++)
      text += `a${i}: &a${i} [${Array(10)
        .fill(`*a${i - 1}`)
        .join(',')}]\n`;
    await expect(loadConfig(write(text), {})).rejects.toThrow();
  });
});

describe('places outside of the device’s own topics', () => {
  test('are Home Assistant’s and the device’s name unless they are given, and none by default', async () => {
    const plain = await fakeConfig();
    expect(plain).not.toHaveProperty('homeAssistant');
    expect(plain).not.toHaveProperty('onvif');
    const { homeAssistant, onvif } = await fakeConfig({ homeAssistant: {}, onvif: {} });
    expect(homeAssistant).toEqual({ discoveryPrefix: 'homeassistant' });
    expect(onvif).toEqual({});
  });

  test.each([
    { homeAssistant: { discoveryPrefix: 'scenebus' } },
    { homeAssistant: { discoveryPrefix: 'scenebus/fake' } },
    { onvif: { topicPrefix: 'scenebus/other/camera' } },
    { onvif: {}, device: 'scenebus' },
  ])('are not the topic root: %j', async (input) => {
    await expect(fakeConfig(input)).rejects.toThrow('outside of the topic root scenebus');
  });

  test.each(['a//b', 'a/+', '#', '$SYS/x', ''])('are topic levels: %j', async (place) => {
    await expect(fakeConfig({ onvif: { topicPrefix: place } })).rejects.toThrow('topic levels');
  });
});

describe('what only a look at the machine can tell', () => {
  const check = { check: 'all' } as const;
  const failure = (text: string, options: Parameters<typeof loadConfig>[2] = check) =>
    loadConfig(write(text), {}, options).then(
      () => 'no failure',
      (error: Error) => error.message,
    );
  mkdirSync(join(folder, 'models/demo'), { recursive: true });
  mkdirSync(join(folder, 'models/hollow'), { recursive: true });
  writeFileSync(join(folder, 'models/demo/config.json'), '{}');

  test('a model folder that is there is fine, also for a device that starts', async () => {
    expect(await failure(minimal)).toBe('no failure');
  });

  test.each([
    ['is not there', 'models/none', /line 2: model\.directory: Expected a model folder, but .*models\/none is none/],
    ['holds no model', 'models/hollow', /line 2: model\.directory: .*models\/hollow has no config\.json/],
  ])('a model folder that %s is told with its line', async (_, directory, message) => {
    const text = minimal.replace('models/demo', directory);
    expect(await failure(text)).toMatch(message);
    expect(await failure(text, { check: 'model' })).toMatch(message);
    expect(await failure(text, {})).toBe('no failure');
  });

  test('an impossible camera address is told with its line; a running device would go on without that camera', async () => {
    const text = `${minimal}  - { id: door, address: "gopher://x" }\n`;
    expect(await failure(text)).toMatch(/line 5: cameras\[1\]\.address: .*"gopher:" is not known/);
    expect(await failure(text, { check: 'model' })).toBe('no failure');
  });
});

describe('addresses of cameras', () => {
  test.each([
    ['clip.mp4', 'clip.mp4'],
    ['./clips', 'clips'],
    ['../clip.mp4', '../clip.mp4'],
    ['file:clip.mp4?loop', 'file:clip.mp4?loop'],
  ])('%s is relative to the file', async (address, path) => {
    const config = await loadConfig(write(minimal.replace('"0"', JSON.stringify(address))), {});
    const expected = path.startsWith('file:') ? `file:${join(folder, path.slice(5))}` : join(folder, path);
    expect(config.cameras[0]?.address).toBe(expected);
  });

  test.each(['0', '/dev/video0', 'v4l2:1', 'csi:0', 'rtsp://h/s', 'test:checker', '/clips/a.mp4', 'file:///a.mp4'])(
    '%s stays as it is',
    async (address) => {
      const config = await loadConfig(write(minimal.replace('"0"', JSON.stringify(address))), {});
      expect(config.cameras[0]?.address).toBe(address);
    },
  );

  test('that are numbers get a hint', async () => {
    expect(await problemsOf(minimal.replace('"0"', '0'))).toMatch(
      /line 4: cameras\[0\]\.address: Expected text, but received the number 0: write "0"/,
    );
  });
});

describe('the text of a file', () => {
  const bytes = (name: string, content: Uint8Array) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return loadConfig(path, {});
  };

  test('in Latin-1 or UTF-16 is refused with the line, rather than making topics of U+FFFD', async () => {
    const text = `${minimal}device: Küche\n`;
    const latin1 = {
      code: 'ERR_CONFIG_INVALID',
      message: expect.stringMatching(/line 5: Expected UTF-8, but byte 0xfc/),
    };
    await expect(bytes('latin1.yaml', Buffer.from(text, 'latin1'))).rejects.toMatchObject(latin1);
    const utf16 = { code: 'ERR_CONFIG_INVALID', message: expect.stringContaining('UTF-16') };
    await expect(bytes('utf16.yaml', Buffer.from(`\uFEFF${text}`, 'utf16le'))).rejects.toMatchObject(utf16);
    await expect(bytes('cut.yaml', Buffer.from(text).subarray(0, -5))).rejects.toMatchObject({
      message: expect.stringContaining('line 5: Expected UTF-8'),
    });
  });

  test('in UTF-8 is fine, with a byte order mark too', async () => {
    expect((await bytes('utf8.yaml', Buffer.from(`\uFEFF${minimal}device: Küche\n`))).device).toBe('Küche');
  });

  test('may use merge keys and keep anchors below keys of its own', async () => {
    const text = `version: 1
model: { directory: m }
x-camera: &camera { rotation: 90, describe: false }
cameras:
  - { <<: *camera, id: a, address: "0" }
  - { <<: *camera, id: b, address: "1", describe: true }
`;
    expect((await loadConfig(write(text), {})).cameras).toMatchObject([
      { id: 'a', rotation: 90, describe: false },
      { id: 'b', rotation: 90, describe: true },
    ]);
    expect(await problemsOf(text.replace('describe: false', 'descirbe: false'))).toMatch(/did you mean describe\?/);
  });
});

describe('a variable that is not set', () => {
  test('is told with its line, together with everything else', async () => {
    const text = `${minimal}  - { id: b, address: "rtsp://u:${reference('SCENEBUS_NONE')}@h/" }\n  - { id: c, address: "${reference('HOME')}" }\nlog: loud\n`;
    const message = await problemsOf(text);
    expect(message).toMatch(/line 5: cameras\[1\]\.address: .*SCENEBUS_NONE}, but that variable is not set/);
    expect(message).toMatch(/line 6: cameras\[2\]\.address: .*HOME/);
    expect(message).toMatch(/line 7: log: /);
  });
});

describe('secrets', () => {
  const withBroker = `${minimal}broker: { url: "mqtts://host", username: me, passwordFile: password.txt }\n`;

  test('come from the environment before files', async () => {
    writeFileSync(join(folder, 'password.txt'), 'from-file\n');
    const path = write(withBroker);
    expect((await loadConfig(path, {})).secrets).toEqual({ mqttUsername: 'me', mqttPassword: 'from-file' });
    const environment = { SCENEBUS_MQTT_PASSWORD: 'from-environment', SCENEBUS_MQTT_USERNAME: 'you' };
    expect((await loadConfig(path, environment)).secrets).toEqual({
      mqttUsername: 'you',
      mqttPassword: 'from-environment',
    });
  });

  test('fill references in addresses, of our own variables only', async () => {
    const text = minimal.replace('"0"', `"rtsp://viewer:${reference('SCENEBUS_CAMERA_PASSWORD')}@10.0.0.7/stream"`);
    const config = await loadConfig(write(text), { SCENEBUS_CAMERA_PASSWORD: 'secret' });
    expect(config.cameras[0]?.address).toBe('rtsp://viewer:secret@10.0.0.7/stream');
    expect(await problemsOf(text)).toContain('SCENEBUS_CAMERA_PASSWORD}, but that variable is not set');
    expect(await problemsOf(text.replace('SCENEBUS_CAMERA_PASSWORD', 'HOME'), { HOME: '/root' })).toContain(
      reference('HOME'),
    );
  });

  test('are never printed', async () => {
    const text = withBroker.replace('"0"', '"rtsp://viewer:hidden1@10.0.0.7/stream"');
    const printed = describeConfig(await loadConfig(write(text), { SCENEBUS_MQTT_PASSWORD: 'hidden2' }));
    expect(printed).toContain('rtsp://***@10.0.0.7/stream');
    expect(printed).toContain('# mqttPassword: set');
    expect(printed).not.toMatch(/hidden[12]/);
  });
});

describe('the default device name', () => {
  test('is the host name made fit for a topic', () => {
    expect(defaultDeviceName('kiosk 3/hall+#')).toBe('kiosk-3-hall--');
    expect(defaultDeviceName('kiosk.local')).toBe('kiosk-local');
    expect(defaultDeviceName('')).toBe('device');
  });
});
