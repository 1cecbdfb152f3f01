/** A device with a second model behind its own, on another server. */
import { join } from 'node:path';
import { SdkError, silentLogger } from 'scenebus';
import { connectClient } from 'scenebus/client';
import { afterEach, expect, test } from 'vitest';
import { loadRouted } from '#device/app/routed-model.js';
import { ModelServer } from '#device/openai/server.js';
import { startMosquitto } from '../../support/brokers.js';
import { FakeCamera, fakeFrame } from '../../support/device-fakes.js';
import { startFaultProxy } from '../../support/fault-proxy.js';
import { createFakeModel } from '../../support/model.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { deviceName, makeConfig, startService } from './demo-device.js';

const stops: (() => PromiseLike<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

test('answers with the remote model what its own is not sure of, and itself while that is away', async () => {
  const [own, far] = [await createFakeModel({ writes: 'a cup' }), await createFakeModel({ writes: 'two cups' })];
  const server = await ModelServer.start({ model: far.model, modelName: 'big', port: 0, logger: silentLogger });
  const proxy = await startFaultProxy(server.address);
  const broker = await startMosquitto();
  const camera = new FakeCamera();
  camera.newest = fakeFrame(1);
  camera.set('streaming');
  stops.push(
    () => far.model[Symbol.asyncDispose](),
    () => server[Symbol.asyncDispose](),
    () => proxy[Symbol.asyncDispose](),
    () => broker[Symbol.asyncDispose](),
  );
  const base = await makeConfig({
    cameras: [{ id: 'till', address: 'test:moving', describe: false }],
    broker: { url: broker.url },
    model: {
      directory: '/unused',
      remote: { url: proxy.url, model: 'big', pictures: { send: true }, minimumProbability: 1 },
    },
  });
  const service = await startService(base, {
    parts: {
      openCamera: async () => camera,
      loadModel: async ({ remote }, { logger }) => loadRouted(async () => own.model, remote!, logger),
    },
  });
  stops.push(() => service.stop());
  const client = await connectClient({ url: broker.url });
  stops.push(() => client[Symbol.asyncDispose]());
  const ask = () => client.ask(deviceName, { question: 'What is there?' });
  const { text, model } = await ask();
  expect([text, model.id]).toEqual(['two cups', 'big']);
  expect(proxy.bodies).toHaveLength(1);
  proxy.faults.push(...Array.from({ length: 4 }, () => ({ type: 'answer', status: 400, body: '{}' }) as const));
  const alone = await ask();
  expect([alone.text, alone.model.id]).toEqual(['a cup', 'fake']);
  expect(alone.notices?.join()).toContain('not sure');
});

test('is not loaded without the key that it was to have, and leaves nothing open', async () => {
  const folder = await makeTemporaryFolder('scenebus-routed-');
  const keyFile = join(folder, 'none.key');
  let loads = 0;
  const load = async () => {
    loads++;
    throw new SdkError('ERR_MODEL_NOT_FOUND', 'none');
  };
  const config = await makeConfig({
    model: {
      directory: '/unused',
      remote: { url: 'https://gpu.example/v1', model: 'big', pictures: { send: true }, maximumWaiting: 1 },
    },
  });
  const remote = config.model.remote!;
  await expect(loadRouted(load, { ...remote, keyFile }, silentLogger)).rejects.toMatchObject({
    code: 'ERR_CONFIG_INVALID',
  });
  expect(loads).toBe(0);
  await expect(loadRouted(load, remote, silentLogger)).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
});
