/** The bus as programs see it that share no code with ours: the Mosquitto command line clients. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bus, connectBus } from '#sdk/bus/index.js';
import { BROKERS, mosquittoTool, type TestBroker } from '../../support/brokers.js';
import { observation } from '../../support/observations.js';

describe.each(BROKERS)('mosquitto clients against $name', ({ version, start }) => {
  let broker: TestBroker;
  let bus: Bus;
  const V = version === 5 ? '5' : '311';
  beforeAll(async () => {
    broker = await start();
    bus = await connectBus({ url: broker.url, device: 'kitchen', protocolVersion: version });
    bus.onAsk(async ({ question }) => observation(`Asked: ${question}`));
  });
  afterAll(async () => {
    await bus.close();
    await broker[Symbol.asyncDispose]();
  });

  test('mosquitto_sub reads retained availability and scene', async () => {
    await bus.publishScene('cam0', observation());
    const args = [
      '-V',
      V,
      '-v',
      '-t',
      'scenebus/kitchen/availability',
      '-t',
      'scenebus/kitchen/camera/+/scene',
      '-C',
      '2',
      '-W',
      '20',
    ];
    const lines = (await mosquittoTool('mosquitto_sub', broker, args)).trim().split('\n').sort();
    expect(lines[0]).toMatch(/^scenebus\/kitchen\/availability \{.*"state":"online"/);
    expect(lines[1]).toMatch(/^scenebus\/kitchen\/camera\/cam0\/scene \{.*"generatedByModel":true/);
  });

  test('mosquitto_rr asks and prints the answer', async () => {
    const question = JSON.stringify({
      question: 'Where is the cup?',
      transaction: 'rr-1',
      ...(version === 4 ? { responseTopic: 'scenebus/rr/answer' } : {}),
    });
    const correlation = version === 5 ? ['-D', 'publish', 'correlation-data', 'c1'] : [];
    const args = [
      '-V',
      V,
      '-t',
      'scenebus/kitchen/request/ask',
      '-e',
      'scenebus/rr/answer',
      '-m',
      question,
      '-W',
      '20',
      ...correlation,
    ];
    // Our answer topic for 3.1.1 is in the body, because there is no property for it.
    const out = JSON.parse(await mosquittoTool('mosquitto_rr', broker, args));
    expect(out).toMatchObject({ status: 'ok', transaction: 'rr-1', data: { text: 'Asked: Where is the cup?' } });
  });

  test('mosquitto_pub asks, mosquitto_sub hears the answer on response/ask', async () => {
    const heard = mosquittoTool('mosquitto_sub', broker, [
      '-V',
      V,
      '-t',
      'scenebus/kitchen/response/ask',
      '-C',
      '1',
      '-W',
      '20',
    ]);
    let answer: string | undefined;
    void heard.then((text) => {
      answer = text;
    });
    // The subscriber says nothing when it is ready, so the question is asked until it hears an answer.
    while (answer === undefined) {
      await mosquittoTool('mosquitto_pub', broker, [
        '-V',
        V,
        '-q',
        '1',
        '-t',
        'scenebus/kitchen/request/ask',
        '-m',
        '{"question":"Who?"}',
      ]);
    }
    expect(JSON.parse(answer)).toMatchObject({ status: 'ok', data: { question: 'Who?' } });
    await heard;
  });
});
