/** What a service tells Home Assistant and receivers of ONVIF events, over a real Mosquitto. */
import { silentLogger } from 'scenebus';
import { connect } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceParts } from '#device/app/device-parts.js';
import { DeviceService } from '#device/app/device-service.js';
import type { DeviceConfigInput } from '#device/config/schema.js';
import { Listener, startMosquitto, startProxy, type TestBroker, until } from '../../support/brokers.js';
import { FakeCamera, fakeConfig, fakeFrame, fakeModel } from '../../support/device-fakes.js';
import { DISCOVERY_TOPIC, discoverySchema, rendered } from '../../support/home-assistant.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startMosquitto();
});
afterAll(async () => {
  await broker[Symbol.asyncDispose]();
});

const parts: DeviceParts = {
  openCamera: async () => {
    const camera = new FakeCamera();
    camera.newest = fakeFrame(1);
    camera.set('streaming');
    return camera;
  },
  loadModel: async () => fakeModel().model,
};
const cameras = [{ id: 'front', address: 'fake' }];
const watches = [{ id: 'visitor', question: 'Is anybody there?', answerType: 'yes-no' as const }];

async function start(input: Partial<DeviceConfigInput>): Promise<DeviceService> {
  const config = await fakeConfig({ cameras, watches, broker: { url: broker.url }, ...input });
  return DeviceService.start(config, { logger: silentLogger, parts });
}

describe('Home Assistant', () => {
  test('is told of everything in one retained message, again when it starts, and of nothing by default', async () => {
    const journal = { directory: await makeTemporaryFolder('scenebus-discovery-') };
    await using listener = await Listener.open(broker, 5, ['homeassistant/#', 'scenebus/homely/#']);
    const plain = await start({ device: 'homely', journal });
    await listener.next(({ topic }) => topic.endsWith('/watch/visitor/state'));
    await plain.stop();
    expect(listener.messages.filter(({ topic }) => topic.startsWith('homeassistant/'))).toEqual([]);

    const service = await start({ device: 'homely', journal, homeAssistant: {} });
    const first = await listener.next(({ topic }) => DISCOVERY_TOPIC.test(topic));
    expect(first.topic).toBe('homeassistant/device/scenebus__homely/config');
    const message = discoverySchema.parse(first.json);
    // Every topic that an entity reads holds something that its template understands.
    const payloads = new Map<string, unknown>();
    await using late = await Listener.open(broker, 5, 'scenebus/homely/#');
    for (const each of Object.values(message.cmps)) {
      if (!('state_topic' in each)) continue;
      const { json, packet } = await late.next(({ topic }) => topic === each.state_topic);
      expect(packet.retain, each.state_topic).toBe(true);
      expect(rendered(each.value_template!, json), each.unique_id).not.toMatch(/^(undefined|)$/);
      if (each.json_attributes_template) JSON.parse(rendered(each.json_attributes_template, json));
      for (const { topic, value_template } of [...message.availability, ...(each.availability ?? [])]) {
        const status = payloads.get(topic) ?? (await late.next((received) => received.topic === topic)).json;
        payloads.set(topic, status);
        expect(rendered(value_template!, status), `${each.unique_id} ${topic}`).toBe('online');
      }
    }

    // A birth that is said a hundred times is answered once.
    const before = listener.on(first.topic).length;
    for (let i = 0; i < 100; i++) await listener.client.publishAsync('homeassistant/status', 'online', { qos: 1 });
    await until(() => listener.on(first.topic).length > before);
    expect(listener.on(first.topic).length).toBe(before + 1);
    expect(discoverySchema.parse(listener.on(first.topic).at(-1)?.json).cmps).toEqual(
      discoverySchema.parse(listener.on(first.topic)[before - 1]?.json).cmps,
    );

    // A switch of Home Assistant works.
    const privacy = Object.values(message.cmps).find((each) => 'name' in each && each.name === 'front privacy');
    if (privacy?.p !== 'switch' || !('command_topic' in privacy)) throw new Error('no switch');
    await listener.client.publishAsync(privacy.command_topic, privacy.payload_on, { qos: 1, retain: privacy.retain });
    await listener.next(
      ({ topic, json }) => topic === privacy.state_topic && rendered(privacy.value_template!, json) === 'true',
    );
    await service.stop();
  });

  test('hears of watches that come and go, also over a restart, and forgets the device when it is switched off', async () => {
    const journal = { directory: await makeTemporaryFolder('scenebus-discovery-') };
    const topic = 'hass/device/scenebus__changing/config';
    const options = { device: 'changing', journal, homeAssistant: { discoveryPrefix: 'hass' } };
    await using listener = await Listener.open(broker, 5, 'hass/#');
    const newest = () => listener.on(topic).at(-1);
    const has = (id: string) => newest()?.json?.cmps?.[id];
    const added = 'camera__front__watch__cups__value';
    {
      await using _service = await start(options);
      await using client = await connect({ url: broker.url });
      await client.watch('changing', { id: 'cups', question: 'How many cups?', answerType: 'number' });
      await until(() => has(added)?.unique_id !== undefined);
      await client.removeWatch('changing', 'cups');
      await until(() => has(added)?.p === 'sensor' && Object.keys(has(added)).length === 1);
    }
    {
      // The configuration lost its watch while the device was off.
      await using _service = await start({ ...options, watches: [] });
      await until(() => Object.keys(has('camera__front__watch__visitor__binary') ?? {}).length === 1);
      discoverySchema.parse(newest()?.json);
    }
    {
      // Another prefix: the old place is cleared, the new one filled.
      await using other = await Listener.open(broker, 5, 'homeassistant/device/scenebus__changing/config');
      await using _service = await start({ ...options, homeAssistant: {} });
      await until(() => newest()?.text === '');
      await other.next(({ json }) => json !== undefined);
    }
    await using gone = await Listener.open(broker, 5, 'homeassistant/device/scenebus__changing/config');
    await gone.next(({ text }) => text !== '');
    {
      await using _service = await start({ ...options, homeAssistant: undefined });
      await gone.next(({ text }) => text === '');
    }
  });
});

describe('events of watches as ONVIF devices send them', () => {
  test('have its topics and its JSON, come at least once and in order over an outage, and not by default', async () => {
    await using listener = await Listener.open(broker, 5, '+/onvif-ej/#');
    const directory = await makeTemporaryFolder('scenebus-onvif-');
    await using proxy = await startProxy(broker.port);
    const url = { broker: { url: proxy.url } };
    const service = await start({ device: 'watcher', journal: { directory }, onvif: {}, watches: [], ...url });
    const frame = { id: 'front-1', capturedAtMs: 1, width: 64, height: 48 };
    const emit = (type: 'new' | 'update' | 'end', value: number | string, probability: number | null = null) =>
      service.hub.emit(
        'watch',
        {
          frame,
          model: { id: 'fake' },
          watch: 'cups',
          eventId: 'e1',
          type,
          question: 'How many?',
          answerType: 'number',
          value,
          previous: null,
          probability,
          startedAtMs: 1,
          evidence: { objects: [] },
        },
        { camera: 'front', frame },
      );
    const { atMs } = await emit('new', 2, 0.9);
    // The form of "JSON Event Payload" in the ONVIF Core Specification, to the letter.
    const received = await listener.next(() => true);
    expect(received.topic).toBe('watcher/onvif-ej/RuleEngine/scenebus:Watch/&front/cups');
    expect(received.packet.retain).toBe(false);
    expect(received.json).toEqual({
      UtcTime: new Date(atMs).toISOString(),
      Source: { VideoSource: 'front', Rule: 'cups' },
      Data: { State: true, Change: 'new', Value: 2, Probability: 0.9, EventId: 'e1', FrameId: 'front-1' },
    });
    proxy.close();
    await until(() => service.bus.state !== 'online');
    await emit('update', 3);
    await emit('end', 0);
    proxy.open();
    await listener.next(({ json }) => json.Data.State === false);
    const changes = listener.messages.map(({ json }) => json.Data.Change);
    // What the cut connection carried may come twice; nothing is out of order.
    expect([...new Set(changes)]).toEqual(['new', 'update', 'end']);
    await service.stop();
    const count = listener.messages.length;

    const plain = await start({ device: 'watcher', journal: { directory }, watches: [] });
    const body = {
      frame,
      model: { id: 'fake' },
      watch: 'cups',
      eventId: 'e2',
      type: 'new' as const,
      question: 'How many?',
    };
    const rest = { answerType: 'number' as const, value: 1, previous: null, probability: null, startedAtMs: 1 };
    await using own = await Listener.open(broker, 5, 'scenebus/watcher/camera/front/event');
    await plain.hub.emit('watch', { ...body, ...rest, evidence: { objects: [] } }, { camera: 'front', frame });
    await own.next(({ json }) => json.eventId === 'e2');
    await plain.stop();
    expect(listener.messages).toHaveLength(count);
  });
});
