/** OpenAI's API as a part of a running device: its model, its cameras, its privacy. */
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import OpenAI from 'openai';
import { encodeJpeg, type Frame, SdkError, type VisionLanguageModel } from 'scenebus';
import { createTokenStream } from 'scenebus/service';
import { afterEach, expect, test } from 'vitest';
import type { DeviceService } from '#device/app/device-service.js';
import { parseConfig } from '#device/config/load.js';
import type { DeviceConfigInput } from '#device/config/schema.js';
import { startMosquitto } from '../../support/brokers.js';
import { FakeCamera, fakeFrame } from '../../support/device-fakes.js';
import { createFakeModel } from '../../support/model.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { borrow, makeConfig, startService, topic } from './demo-device.js';

const stops: (() => PromiseLike<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface Started {
  readonly openai?: DeviceConfigInput['openai'];
  readonly masks?: [number, number][][];
  /** Made into what the service loads, each time that it does. */
  readonly load?: (model: VisionLanguageModel) => VisionLanguageModel;
}

async function start({ openai = { port: 0 }, masks = [], load = borrow }: Started = {}) {
  const broker = await startMosquitto();
  stops.push(() => broker[Symbol.asyncDispose]());
  const camera = new FakeCamera();
  camera.newest = fakeFrame(1);
  camera.set('streaming');
  const { model } = await createFakeModel({ writes: 'two cups on the table' });
  stops.push(() => model[Symbol.asyncDispose]());
  const cameras = [{ id: 'till', address: 'test:moving', describe: false, masks }];
  const config = await makeConfig({ cameras, broker: { url: broker.url }, openai });
  const parts = { openCamera: async () => camera, loadModel: async () => load(model) };
  const service = await startService(config, { parts });
  stops.push(() => service.stop());
  return { service, broker, camera };
}

function clientOf(service: DeviceService, apiKey = 'none'): OpenAI {
  return new OpenAI({ baseURL: `${service.apiAddress}/v1`, apiKey, maxRetries: 0 });
}

const about = (camera: string) => ({
  model: 'fake',
  messages: [
    {
      role: 'user' as const,
      content: [
        { type: 'image_url' as const, image_url: { url: `camera:${camera}` } },
        { type: 'text' as const, text: 'What is there?' },
      ],
    },
  ],
});

test("answers about what a camera sees now, by the device's own model, with what a mask covers covered", async () => {
  const seen: Frame[] = [];
  const load = (model: VisionLanguageModel): VisionLanguageModel => ({
    ...borrow(model),
    generate: (request, options) => {
      for (const { content } of request.messages)
        for (const part of typeof content === 'string' ? [] : content)
          if (part.type === 'image') seen.push(part.image as Frame);
      return model.generate(request, options);
    },
  });
  const left: [number, number][] = [
    [0, 0],
    [0.5, 0],
    [0.5, 1],
    [0, 1],
  ];
  const { service, camera } = await start({ masks: [left], load });
  const { width, height } = camera.newest!;
  camera.newest = { ...fakeFrame(2), data: new Uint8Array(width * height * 3).fill(250) };
  const answer = await clientOf(service).chat.completions.create(about('till'));
  expect(answer.choices[0]?.message.content).toBe('two cups on the table');
  const streamed = clientOf(service).chat.completions.stream(about('till'));
  expect(await streamed.finalContent()).toBe('two cups on the table');
  const [frame] = seen;
  expect(frame?.id).toBe('cam-2');
  expect(frame?.data[0]).toBe(128);
  expect(frame?.data.at(-1)).toBe(250);
});

test('refuses a camera that is not there, and one whose privacy is on', async () => {
  const { service, broker } = await start();
  const client = clientOf(service);
  await expect(client.chat.completions.create(about('front'))).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining('one of till'),
  });
  const mqtt = await connectAsync(broker.url);
  const isPrivate = new Promise<void>((resolve) =>
    mqtt.on('message', (_, payload) => JSON.parse(String(payload)).value === true && resolve()),
  );
  await mqtt.subscribeAsync(topic('camera/till/privacy/state'));
  await mqtt.publishAsync(topic('camera/till/privacy/set'), 'true', { qos: 1 });
  await isPrivate;
  await mqtt.endAsync();
  // Not a status that clients take for trouble that passes.
  await expect(client.chat.completions.create(about('till'))).rejects.toMatchObject({
    status: 403,
    code: 'camera_private',
    message: expect.stringContaining('its privacy is on'),
  });
});

test('gives no cameras away where the owner says so', async () => {
  const { service } = await start({ openai: { port: 0, cameras: false } });
  await expect(clientOf(service).chat.completions.create(about('till'))).rejects.toMatchObject({
    status: 400,
    code: 'invalid_image_url',
  });
});

test('fetches pictures of so many megabytes as its configuration says, and no larger', async () => {
  const small = await encodeJpeg(fakeFrame(1));
  const web = createServer((request, response) => {
    const size = Number(request.url?.slice(1));
    response.writeHead(200, { 'content-type': 'image/jpeg' });
    // What is behind the end of a JPEG file is none of the picture.
    response.end(Buffer.concat([small, Buffer.alloc(size - small.length)]));
  });
  stops.push(async () => void web.close());
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
  const { service } = await start({ openai: { port: 0, pictures: { from: [origin], maxMegabytes: 1 } } });
  const ask = (size: number) => {
    const asked = about('till');
    asked.messages[0]!.content[0]!.image_url!.url = `${origin}/${size}`;
    return clientOf(service).chat.completions.create(asked);
  };
  expect((await ask(1e6)).choices[0]?.message.content).toBe('two cups on the table');
  await expect(ask(1e6 + 1)).rejects.toMatchObject({ status: 400, code: 'image_fetch_failed' });
});

test('answers 503 while the model is loaded again, and goes on with the new one', async () => {
  let loads = 0;
  const load = (model: VisionLanguageModel): VisionLanguageModel => {
    loads++;
    if (loads > 1) return borrow(model);
    const died = new SdkError('ERR_ENGINE_DIED', 'The engine died.');
    return {
      ...borrow(model),
      generate: () => createTokenStream(() => Promise.reject(died), undefined),
    };
  };
  const { service } = await start({ load });
  const client = clientOf(service);
  const ask = () => client.chat.completions.create(about('till'));
  await expect(ask()).rejects.toMatchObject({ status: 503, code: 'ERR_ENGINE_DIED' });
  await expect(ask()).rejects.toMatchObject({ status: 503 });
  await expect.poll(() => ask().catch(() => undefined), { timeout: 20_000 }).toBeDefined();
  expect(loads).toBe(2);
}, 30_000);

test('wants the key of its file beyond loopback', async () => {
  const folder = await makeTemporaryFolder('scenebus-api-');
  const key = 'a-key-of-enough-characters';
  await writeFile(join(folder, 'key'), `${key}\n`);
  const given = (more: object): DeviceConfigInput => ({
    version: 1,
    device: 'bench',
    model: { directory: folder },
    cameras: [{ id: 'till', address: 'test:moving' }],
    openai: { port: 0, ...more },
  });
  const parse = (more: object) => parseConfig(given(more), { file: 'the test', folder, environment: {} });
  expect((await parse({ keyFile: 'key' })).secrets.serveKey).toBe(key);
  await expect(parse({ pictures: { from: ['images.example'] } })).rejects.toThrow(/https:\/\/host/);
  await expect(start({ openai: { port: 0, host: '0.0.0.0' } })).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
});

test('goes on without the API where its port is taken, and says so', async () => {
  const first = await start();
  const port = Number(new URL(first.service.apiAddress!).port);
  const { service } = await start({ openai: { port } });
  expect(service.apiAddress).toBeUndefined();
  expect(service.state).toBe('degraded');
});
