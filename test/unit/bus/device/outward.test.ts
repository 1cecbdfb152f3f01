import { describe, expect, test } from 'vitest';
import { Outward } from '#sdk/bus/device/outward.js';
import type { OutwardOptions } from '#sdk/bus/index.js';
import { Outbox, type OutboxMessage } from '#sdk/bus/transport/outbox.js';
import { silentLogger } from '#sdk/core/logger.js';

function outwardOf(options: OutwardOptions) {
  const sent: OutboxMessage[] = [];
  const outbox = new Outbox({
    queueLength: 10,
    maxStates: 1_024,
    isLost: () => false,
    onDelivered: (message) => sent.push(message),
    onLoss: () => {},
    now: () => 0,
  });
  outbox.attach(async () => {}, 16);
  const clear = async (topics: readonly string[]) => void topics;
  const outward = new Outward(options, {
    root: 'site/scenebus',
    outbox,
    clear,
    requireOpen: () => {},
    logger: silentLogger,
  });
  return { outward, sent };
}

describe('topics outside of the device’s own', () => {
  test('are only those that the bus was connected with', async () => {
    const { outward, sent } = outwardOf({ publish: ['homeassistant/device'] });
    await outward.publish({ prefix: 'homeassistant/device', levels: ['a', 'config'] }, { a: 1 }, { retain: true });
    expect(sent.map(({ topic, kind }) => [topic, kind])).toEqual([['homeassistant/device/a/config', 'state']]);
    for (const prefix of ['homeassistant', 'homeassistant/device/a', 'other', ''])
      await expect(outward.publish({ prefix, levels: ['x'] }, {})).rejects.toMatchObject({
        code: 'ERR_ARGUMENT_INVALID',
      });
    const none = outwardOf({}).outward;
    await expect(none.publish({ prefix: 'homeassistant/device', levels: ['x'] }, {})).rejects.toThrow('(none)');
    await expect(none.remove({ prefix: 'homeassistant/device', levels: ['x'] })).rejects.toThrow('(none)');
  });

  test.each(['a/b', '+', '#', '$SYS', '..', '.', '', 'a\u0000', '\ud800', 'x'.repeat(65)])(
    'cannot be left by a level like %j',
    async (level) => {
      const { outward, sent } = outwardOf({ publish: ['onvif'] });
      await expect(outward.publish({ prefix: 'onvif', levels: ['ej', level] }, {})).rejects.toMatchObject({
        code: 'ERR_ARGUMENT_INVALID',
      });
      expect(sent).toEqual([]);
    },
  );

  test('are never below the topic root, also from a place above it', async () => {
    for (const place of ['site/scenebus', 'site/scenebus/dev', 'a//b', 'a/+', '$SYS/x', '#', ''])
      expect(() => outwardOf({ publish: [place] })).toThrow(/outward topics/);
    expect(() => outwardOf({ listen: ['homeassistant/+'] })).toThrow(/outward topics/);
    const { outward } = outwardOf({ publish: ['site'] });
    await expect(outward.publish({ prefix: 'site', levels: ['scenebus', 'dev', 'availability'] }, {})).rejects.toThrow(
      'outside of site/scenebus',
    );
  });

  test('are bounded in number and size', async () => {
    const { outward } = outwardOf({ publish: ['a'] });
    const publish = (n: number) => outward.publish({ prefix: 'a', levels: [`${n}`] }, {}, { retain: true });
    for (let n = 0; n < 64; n++) await publish(n);
    await expect(publish(64)).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
    await outward.remove({ prefix: 'a', levels: ['0'] });
    await publish(64);
    const big = { text: 'x'.repeat(300_000) };
    await expect(outward.publish({ prefix: 'a', levels: ['b'] }, big)).rejects.toThrow('262144 bytes');
  });

  test('are heard one by one, in small pieces', () => {
    const { outward } = outwardOf({ listen: ['homeassistant/status'] });
    const heard: string[] = [];
    outward.listen(() => {
      throw new Error('of a listener');
    });
    const stop = outward.listen((topic, text) => heard.push(`${topic} ${text}`));
    const message = (topic: string, text: string) => ({
      topic,
      payload: Buffer.from(text),
      retain: false,
      duplicate: false,
      properties: {},
    });
    expect(outward.receive(message('homeassistant/status', 'online'))).toBe(true);
    expect(outward.receive(message('homeassistant/status', 'x'.repeat(2_000)))).toBe(true);
    expect(outward.receive(message('homeassistant/other', 'online'))).toBe(false);
    stop();
    expect(outward.receive(message('homeassistant/status', 'online'))).toBe(true);
    expect(heard).toEqual(['homeassistant/status online']);
  });
});
