import { registerSecret } from 'scenebus/service';
import { describe, expect, test } from 'vitest';
import type { DeviceConfig } from '#device/config/schema.js';
import { checkMessage } from '#device/console/mqtt/contract-check.js';
import { type BusMessage, LOG_LIMITS, MessageLog } from '#device/console/mqtt/message-log.js';
import { subscribeCommand } from '#device/console/mqtt/subscribe-command.js';

const availability = {
  schema: 'scenebus.availability/1',
  device: 'kitchen',
  run: 'r',
  seq: 1,
  ts: '2026-01-01T00:00:00.000Z',
  state: 'online',
};
const topic = 'scenebus/kitchen/availability';
const sent = (payload: object, on = topic): BusMessage => ({ direction: 'sent', topic: on, retain: true, payload });
const received = (text: string, on = 'scenebus/kitchen/request/ask'): BusMessage => ({
  direction: 'received',
  topic: on,
  retain: false,
  payload: new TextEncoder().encode(text),
});
const newest = (log: MessageLog, of: string) => log.messages(of)![0]!;

describe('messages of the bus', () => {
  test('are kept by topic, the newest first, pretty-printed, with what the contract calls them', () => {
    const log = new MessageLog('scenebus', () => 1_000);
    log.add(sent(availability));
    log.add(sent({ ...availability, seq: 2, state: 'stopped' }));
    expect(log.topics).toMatchObject([{ topic, count: 2, newest: { seq: 2 } }]);
    expect(log.messages(topic)).toMatchObject([
      { seq: 2, atMs: 1_000, direction: 'sent', retain: true, schema: 'scenebus.availability/1', misses: [] },
      { seq: 1 },
    ]);
    const { text, sizeBytes } = newest(log, topic);
    expect(text).toBe(JSON.stringify({ ...availability, seq: 2, state: 'stopped' }, undefined, 2));
    expect(sizeBytes).toBe(JSON.stringify({ ...availability, seq: 2, state: 'stopped' }).length);
  });

  test('say which field misses the contract, and what was expected there', () => {
    const { ts: _ts, ...rest } = availability;
    const { misses } = checkMessage('scenebus', topic, { ...rest, state: 'asleep', extra: 1 });
    expect(misses.map(({ path }) => path).sort()).toEqual(['', 'state', 'ts']);
    expect(misses.find(({ path }) => path === 'state')?.message).toMatch(/online/);
    expect(misses.find(({ path }) => path === '')?.message).toMatch(/extra/);
  });

  test('of other programs are shown as they came: no JSON, no UTF-8, empty, another topic', () => {
    const log = new MessageLog('scenebus');
    const ask = 'scenebus/kitchen/request/ask';
    log.add(received('what is there?'));
    expect(newest(log, ask)).toMatchObject({
      direction: 'received',
      text: 'what is there?',
      schema: 'scenebus.ask/1',
      misses: [{ path: '', message: expect.stringMatching(/Expected JSON/) }],
    });
    log.add({ ...received(''), payload: new Uint8Array([0xff, 0xfe]) });
    expect(newest(log, ask).misses[0]?.message).toMatch(/UTF-8/);
    log.add(received('{"question":""}'));
    expect(newest(log, ask).misses.map(({ path }) => path)).toContain('question');
    log.add(received('', topic));
    expect(newest(log, topic).misses).toEqual([]);
    log.add(received('{}', 'scenebus/kitchen/nothing/known'));
    expect(newest(log, 'scenebus/kitchen/nothing/known')).toMatchObject({ schema: null, misses: [] });
  });

  test('answers on a topic that a caller chose are checked by the schema that they name', () => {
    const answer = { schema: 'scenebus.response/1', status: 'error', verb: 'ask' };
    expect(checkMessage('scenebus', 'scenebus/robot/inbox', answer)).toMatchObject({
      schema: 'scenebus.response/1',
      misses: expect.arrayContaining([expect.objectContaining({ path: 'error' })]),
    });
  });

  test('outside of the root are none of its business', () => {
    const log = new MessageLog('scenebus');
    for (const on of ['other/kitchen/availability', 'scenebusx/kitchen/info', '$SYS/broker/uptime', 'scenebus'])
      log.add(sent(availability, on));
    expect(log.topics).toEqual([]);
  });

  test('hold no secret, and pictures only by their length', () => {
    const forget = registerSecret('correct horse battery');
    const log = new MessageLog('scenebus');
    const ask = 'scenebus/kitchen/request/ask';
    log.add(received('{"question":"Is correct horse battery there? rtsp://a:b@c/d","password":"x"}', ask));
    forget();
    expect(newest(log, ask).text).not.toMatch(/correct horse|a:b@|"x"/);
    const answers = 'scenebus/kitchen/response/snapshot';
    log.add(sent({ jpeg: 'A'.repeat(1e6) }, answers));
    expect(newest(log, answers)).toMatchObject({
      sizeBytes: 1e6 + 11,
      text: expect.stringMatching(/\(1000000 characters\)/),
    });
    expect(newest(log, answers).text.length).toBeLessThan(1_000);
  });

  test('of strangers are not read beyond what a device takes', () => {
    const log = new MessageLog('scenebus');
    const ask = 'scenebus/kitchen/request/ask';
    // A long word would be read again from each of its letters by a pattern without bounds.
    for (const word of ['x', 'a://', 'pw=', '"pw":"', 'authorization:', '[']) {
      log.add(received(word.repeat(2e6 / word.length), ask));
      expect(newest(log, ask)).toMatchObject({ misses: [{ message: expect.stringMatching(/at most 131072 bytes/) }] });
      expect(newest(log, ask).text.length).toBeLessThan(LOG_LIMITS.textCharacters + 100);
    }
  });

  test('are bounded in number by topic, in topics, in characters and in a flood', () => {
    let nowMs = 0;
    const log = new MessageLog('scenebus', () => nowMs);
    const at = (second: number, message: BusMessage) => {
      nowMs = second * 1_000;
      log.add(message);
    };
    for (let i = 0; i < 50; i++) at(i, sent(availability));
    expect(log.messages(topic)).toHaveLength(LOG_LIMITS.messagesPerTopic);
    expect(log.topics[0]?.count).toBe(50);
    for (let i = 0; i < 400; i++) at(100 + i, received('{}', `scenebus/device${i}/info`));
    expect(log.topics).toHaveLength(LOG_LIMITS.topics);
    expect(log.messages('scenebus/device0/info')).toBeUndefined();
    for (let i = 0; i < 400; i++) at(1_000 + i, received('x'.repeat(60_000), `scenebus/device${i}/info`));
    const characters = log.topics
      .flatMap((each) => log.messages(each.topic)!)
      .reduce((sum, { text }) => sum + text.length, 0);
    expect(characters).toBeLessThanOrEqual(LOG_LIMITS.characters);
    expect(characters).toBeGreaterThan(LOG_LIMITS.characters / 2);
    for (let i = 0; i < 5_000; i++) at(9_999, received('{}', 'scenebus/flood/info'));
    expect(log.left).toBe(5_000 - LOG_LIMITS.messagesPerSecond);
    for (const name of ['constructor', '__proto__', 'hasOwnProperty']) expect(log.messages(name)).toBeUndefined();
  });
});

describe('mosquitto_sub', () => {
  const config = (more: object = {}) => ({ secrets: {}, ...more }) as unknown as DeviceConfig;

  test('is called with words that a shell takes as they are', () => {
    expect(subscribeCommand(config(), 'mqtt://127.0.0.1:1883', 'scenebus/kitchen/#')).toEqual({
      command: "mosquitto_sub -h 127.0.0.1 -p 1883 -t 'scenebus/kitchen/#' -v",
      note: expect.stringMatching(/on the device itself/),
    });
    expect(subscribeCommand(config(), 'mqtt://10.0.0.9', "it's $(reboot)`x`")).toEqual({
      command: `mosquitto_sub -h 10.0.0.9 -p 1883 -t 'it'\\''s $(reboot)\`x\`' -v`,
      note: null,
    });
  });

  test('names neither user nor password, and the files of TLS', () => {
    const secrets = { mqttUsername: 'robot', mqttPassword: 'secret' };
    const { command, note } = subscribeCommand(
      config({ secrets, broker: { tls: { caFile: '/etc/ca file.pem', certFile: '/c.pem', keyFile: '/k.pem' } } }),
      'mqtts://broker.example:8883',
      'a/b',
    );
    expect(command).toBe(
      `mosquitto_sub -h broker.example -p 8883 -u "$MQTT_USERNAME" -P "$MQTT_PASSWORD" --cafile '/etc/ca file.pem' --cert /c.pem --key /k.pem -t a/b -v`,
    );
    expect(note).toMatch(/MQTT_PASSWORD/);
    expect(subscribeCommand(config({ broker: {} }), 'mqtts://b', 'a').command).toContain('--capath /etc/ssl/certs');
  });

  test('cannot reach a broker over WebSocket, which is said', () => {
    expect(subscribeCommand(config(), 'wss://broker.example/mqtt', 'a/b')).toEqual({
      command: null,
      note: expect.stringMatching(/WebSocket/),
    });
  });
});
