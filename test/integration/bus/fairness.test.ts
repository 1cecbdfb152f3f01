/** Greedy callers beside modest ones, on a real model: the bus names the callers, the model's scheduler is fair to them. */
import { loadModel, type VisionLanguageModel } from 'scenebus';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { int4Folder } from '#device/app/int4-cache.js';
import { connectBus } from '#sdk/bus/index.js';
import { Listener, startEmbedded, type TestBroker, until } from '../../support/brokers.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { demoModel } from '../device/demo-device.js';

/** Grey, 64 × 64. */
const PICTURE = { format: 'rgb8', width: 64, height: 64, data: new Uint8Array(64 * 64 * 3).fill(128) } as const;
const FRAME = { id: 'f1', capturedAtMs: 0, width: 64, height: 64 };

let model: VisionLanguageModel;
let broker: TestBroker;
beforeAll(async () => {
  const cacheDirectory = await makeTemporaryFolder('scenebus-fairness-');
  model = await loadModel(await int4Folder(demoModel, { cacheDirectory }), { cacheDirectory, maxWaiting: 8 });
  broker = await startEmbedded();
});
afterAll(async () => {
  await model[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
});

const topicOf = (caller: string): string => `scenebus/client/${caller}/response`;

/** A device whose answers are noted with who asked, and what it had answered before each question came. */
async function openDevice(device: string) {
  const answered: string[] = [];
  const cameBehind = new Map<string, number>();
  const bus = await connectBus({ url: broker.url, device });
  bus.onAsk(async ({ question }, { client, signal }) => {
    if (!cameBehind.has(client)) cameBehind.set(client, answered.length);
    const answer = await model.ask(PICTURE, question, { maxNewTokens: 8, caller: client, signal });
    answered.push(client);
    return { frame: FRAME, answer, model: { id: 'demo' } };
  });
  return { bus, answered, cameBehind };
}

test('lets one question wait for one answer at most beside 200 rapid ones of another caller', async () => {
  const { bus, answered, cameBehind } = await openDevice('fair');
  await using listener = await Listener.open(broker, 4, 'scenebus/client/+/response');
  const ask = (caller: string, number: number) =>
    listener.client.publish(
      bus.topics.request('ask'),
      JSON.stringify({
        question: `What is there, ${number}?`,
        responseTopic: topicOf(caller),
        transaction: `${caller} ${number}`,
      }),
      { qos: 1 },
    );
  for (let number = 0; number < 200; number += 1) ask('greedy', number);
  ask('modest', 0);
  await until(() => listener.messages.length === 201);
  const modest = answered.indexOf(topicOf('modest'));
  expect(modest).toBeGreaterThanOrEqual(0);
  expect(modest - (cameBehind.get(topicOf('modest')) ?? 0)).toBeLessThanOrEqual(1);
  const refused = listener.messages.filter(({ json }) => json.status === 'error');
  expect(refused.length).toBeGreaterThan(150);
  for (const { json } of refused) {
    expect(json.error).toMatchObject({ code: 'ERR_BUSY', retryable: true, retryAfterMs: expect.any(Number) });
  }
  expect(bus.stats.requestsBusy).toBe(refused.length);
  await bus.close();
});

test('shares nine answers between five callers that ask 200 questions at once', async () => {
  const { bus, answered } = await openDevice('shared');
  await using listener = await Listener.open(broker, 4, 'scenebus/client/+/response');
  const callers = ['a', 'b', 'c', 'd', 'e'];
  for (const caller of callers) {
    for (let number = 0; number < 40; number += 1) {
      const request = {
        question: `And now, ${number}?`,
        responseTopic: topicOf(caller),
        transaction: `${caller} ${number}`,
      };
      listener.client.publish(bus.topics.request('ask'), JSON.stringify(request), { qos: 1 });
    }
  }
  await until(() => listener.messages.length === 200);
  for (const caller of callers) expect(answered, caller).toContain(topicOf(caller));
  await bus.close();
});
