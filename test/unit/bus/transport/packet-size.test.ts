import { generate } from 'mqtt-packet';
import { describe, expect, test } from 'vitest';
import { pauseCeilingMs } from '#sdk/bus/transport/connection.js';
import { publishPacketBytes } from '#sdk/bus/transport/packet-size.js';

/** What mqtt.js would send. */
function generated(shape: Parameters<typeof publishPacketBytes>[0]): number {
  const { topic, payload, qos, version, properties } = shape;
  const packet = {
    cmd: 'publish',
    topic,
    payload,
    qos,
    retain: true,
    dup: false,
    messageId: qos > 0 ? 7 : undefined,
    properties,
  };
  return generate(packet as Parameters<typeof generate>[0], { protocolVersion: version }).length;
}

describe('publishPacketBytes', () => {
  const properties = {
    payloadFormatIndicator: true,
    messageExpiryInterval: 300,
    contentType: 'application/json',
    responseTopic: 'scenebus/Küche/response/ask',
    correlationData: Buffer.from([1, 2, 3]),
    userProperties: { schema: 'scenebus.scene/1', größe: '摄像头' },
  };

  test('is what the encoder makes, at every length of length and with every property', () => {
    for (const version of [4, 5] as const) {
      for (const qos of [0, 1] as const) {
        for (const characters of [0, 1, 80, 100, 127, 128, 16_200, 16_383, 16_384, 2_097_100, 2_097_152]) {
          const plain = { topic: 'scenebus/dev/camera/摄像头/scene', payload: 'x'.repeat(characters), qos, version };
          for (const each of [undefined, {}, properties, { contentType: 'x'.repeat(200) }]) {
            const shape = { ...plain, properties: version === 5 ? each : undefined };
            expect(publishPacketBytes(shape), JSON.stringify([version, qos, characters])).toBe(generated(shape));
          }
        }
      }
    }
  });

  test('counts bytes, not characters', () => {
    const shape = { topic: 't', payload: 'ü€😀', qos: 1, version: 4, properties: undefined } as const;
    expect(publishPacketBytes(shape)).toBe(generated(shape));
    expect(publishPacketBytes(shape)).toBe(2 + 3 + 2 + 9);
  });
});

describe('the pause before a device tries its broker again', () => {
  test('is a quarter of the outage, so that a broker that was away for 12 s is found within 3 s', () => {
    const backoff = { initialMs: 500, maxMs: 30_000 };
    expect([0, 1_000, 12_000, 60_000, 600_000].map((outageMs) => pauseCeilingMs(outageMs, backoff))).toEqual([
      500, 500, 3_000, 15_000, 30_000,
    ]);
  });
});
