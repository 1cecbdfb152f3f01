/** The service with its model in a process of its own: killed, stopped, and back. */
import { connectClient } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deviceParts } from '#device/app/device-parts.js';
import { Listener, type Received, startMosquitto, type TestBroker } from '../../support/brokers.js';
import { isAlive, modelProcesses } from '../model-process/staged.js';
import { deviceName, makeConfig, startService, topic } from './demo-device.js';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startMosquitto();
});
afterAll(async () => {
  await broker[Symbol.asyncDispose]();
});

const stateIs =
  (state: string) =>
  ({ topic: name, json, packet }: Received) =>
    name === topic('health') && json.state === state && !packet.retain;

async function start() {
  const cameras = [{ id: 'table', address: 'test:moving', describe: false }];
  const config = await makeConfig({ cameras, broker: { url: broker.url } });
  return await startService(config, { parts: deviceParts });
}

describe('the service', () => {
  test('runs the model in a process of its own, unless the configuration says otherwise', async () => {
    const config = await makeConfig();
    expect(config.model.isolation).toBe('process');
    const service = await start();
    const [pid, ...others] = modelProcesses();
    expect(others).toEqual([]);
    await service.stop();
    expect(isAlive(pid!)).toBe(false);
  });

  test('is degraded with the reason while its model is gone after kill -9, answers with an error, and is back', async () => {
    await using listener = await Listener.open(broker, 5);
    await using service = await start();
    await using client = await connectClient(broker.url);
    const ask = () => client.ask(deviceName, 'Is there a book?');
    expect((await ask()).text).not.toBe('');
    const [pid] = modelProcesses();
    process.kill(pid!, 'SIGKILL');
    const degraded = await listener.next(stateIs('degraded'));
    expect(degraded.json.problems).toContainEqual(
      expect.objectContaining({ code: 'ERR_ENGINE_DIED', message: expect.stringContaining('SIGKILL') }),
    );
    const seen = listener.messages.length;
    await expect(ask()).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED', retryable: true });
    await listener.next((message) => listener.messages.indexOf(message) >= seen && stateIs('running')(message));
    expect((await ask()).text).not.toBe('');
    expect(service.state).toBe('running');
    expect(isAlive(pid!)).toBe(false);
    expect(modelProcesses()).toHaveLength(1);
  });

  test('stops within seconds although its model process is stopped', async () => {
    const service = await start();
    const [pid] = modelProcesses();
    process.kill(pid!, 'SIGSTOP');
    await service.stop();
    expect(isAlive(pid!)).toBe(false);
  });
});
