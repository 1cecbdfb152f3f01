import type { KeptAnswer } from 'scenebus/bus';
import { describe, expect, test } from 'vitest';
import type { DeviceEvent } from '#device/events/events.js';
import { EventHub } from '#device/events/hub.js';
import { AnswerEvents } from '#device/sinks/mqtt-sink.js';

const envelope = { schema: 'scenebus.response/1', device: 'd', run: 'r', seq: 1, ts: '2026-11-30T08:00:00.000Z' };
const answered = {
  ...envelope,
  verb: 'ask',
  status: 'ok',
  camera: 'cam',
  frameId: 'cam-7',
  frameTs: '2026-11-30T07:59:59.500Z',
  model: { id: 'fake' },
  generatedByModel: true,
  data: { question: 'Who?', text: 'A dog', objects: [], image: { width: 64, height: 48 }, coordinates: {} },
};
const reply = (payload: object): KeptAnswer => ({
  topic: 'scenebus/client/1/response',
  payload: payload as KeptAnswer['payload'],
  correlationData: 'AAE=',
  expiresAtMs: 9e15,
});

function open() {
  const hub = new EventHub();
  const events: DeviceEvent<'answer'>[] = [];
  hub.on('answer', (event) => events.push(event));
  return { hub, events, answers: new AnswerEvents(hub) };
}

describe('answers to callers on the bus', () => {
  test('are events about their frame, with what the caller is to be given', async () => {
    const { hub, events, answers } = open();
    expect(answers.keep(reply(answered), { question: 'Who?' })).toBe(true);
    await hub.idle();
    expect(events[0]).toMatchObject({
      camera: 'cam',
      frame: { id: 'cam-7', capturedAtMs: Date.UTC(2026, 10, 30, 7, 59, 59, 500), width: 64, height: 48 },
      body: { verb: 'ask', question: 'Who?', answer: { text: 'A dog' }, model: { id: 'fake' }, error: null },
    });
    expect(events[0]?.body.reply).toEqual(reply(answered));
  });

  test('that are failures are kept too, and what is not worth keeping is left to the bus', async () => {
    const { hub, events, answers } = open();
    const error = { code: 'ERR_ENGINE_DIED', message: 'gone', retryable: true };
    expect(
      answers.keep(reply({ ...envelope, verb: 'ask', status: 'error', error }), { question: 'Who?', camera: 'left' }),
    ).toBe(true);
    for (const verb of ['snapshot', 'health', 'watch/list', 'constructor'])
      expect(answers.keep(reply({ ...envelope, verb, status: 'error', error }), {}), verb).toBe(false);
    await hub.idle();
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ camera: 'left', frame: undefined, body: { answer: null, error } });
  });

  test('are left to the bus when the service stops', async () => {
    const { hub, events, answers } = open();
    answers.stop();
    expect(answers.keep(reply(answered), { question: 'Who?' })).toBe(false);
    await hub.idle();
    expect(events).toEqual([]);
  });
});
