import { describe, expect, test } from 'vitest';
import {
  askRequestSchema,
  asyncApiDocument,
  busJsonSchema,
  busSchemas,
  SCHEMA_IDS,
  type SchemaName,
  sceneSchema,
} from '#sdk/bus/index.js';

const names = Object.keys(SCHEMA_IDS) as SchemaName[];
const scene = {
  schema: 'scenebus.scene/1',
  device: 'dev',
  run: 'r',
  seq: 1,
  ts: '2026-01-02T03:04:05.678Z',
  camera: 'cam0',
  frameId: 'f1',
  frameTs: '2026-01-02T03:04:05.000Z',
  model: { id: 'm' },
  generatedByModel: true,
  text: 'A cup.',
  objects: [
    { label: 'cup', box: { x1: 0, y1: 0, x2: 1, y2: 1 }, boxPixels: [0, 0, 640, 480], score: 1, source: 'text' },
  ],
  image: { width: 640, height: 480 },
  coordinates: { origin: 'top-left', box: 'normalised', boxPixels: 'x1,y1,x2,y2' },
  expiresTs: '2026-01-02T03:09:05.678Z',
};

describe('payload schemas', () => {
  test('accept a scene, and none without provenance', () => {
    expect(sceneSchema.parse(scene)).toEqual(scene);
    for (const key of [
      'schema',
      'ts',
      'frameTs',
      'frameId',
      'seq',
      'model',
      'generatedByModel',
      'image',
      'coordinates',
    ]) {
      expect(sceneSchema.safeParse({ ...scene, [key]: undefined }).success, key).toBe(false);
    }
    expect(sceneSchema.safeParse({ ...scene, generatedByModel: false }).success).toBe(false);
    expect(sceneSchema.safeParse({ ...scene, schema: 'scenebus.scene/2' }).success).toBe(false);
  });

  test.each([
    ['beyond the image', { boxPixels: [0, 0, 641, 480] }],
    ['the wrong way round', { box: { x1: 0.5, y1: 0, x2: 0.4, y2: 1 } }],
    ['not normalised', { box: { x1: 0, y1: 0, x2: 640, y2: 480 } }],
    ['of fractional pixels', { boxPixels: [0, 0, 1.5, 2] }],
    ['with a score above 1', { score: 1.5 }],
    ['of an unknown source', { source: 'guess' }],
    ['that is not a number', { score: Number.NaN }],
    ['verified by a number', { verified: 0.9 }],
    ['followed under no number', { trackId: 0 }],
    [
      'seen behind the back of the back',
      { bearing: { azimuthDegrees: 181, elevationDegrees: 0, sigmaDegrees: 1, frame: 'base' } },
    ],
    ['seen from nowhere', { bearing: { azimuthDegrees: 1, elevationDegrees: 0, sigmaDegrees: 1 } }],
    ['standing nobody knows how surely', { floor: { xMetres: 1, yMetres: 0 } }],
  ])('refuse a box %s', (_name, change) => {
    expect(sceneSchema.safeParse({ ...scene, objects: [{ ...scene.objects[0], ...change }] }).success).toBe(false);
  });

  test('accept an object that was verified and is followed', () => {
    const objects = [{ ...scene.objects[0], verified: false, trackId: 7 }];
    expect(sceneSchema.parse({ ...scene, objects }).objects).toEqual(objects);
  });

  test('accept the shortest question', () => {
    expect(askRequestSchema.parse({ question: 'Who?' })).toEqual({ question: 'Who?' });
  });

  test.each(names)('say what %s is for in JSON Schema', (name) => {
    const schema = busJsonSchema(name);
    expect(schema.$schema).toContain('2020-12');
    expect(schema.$id).toBe(`urn:${SCHEMA_IDS[name].replace(/[./]/g, ':')}`);
    expect(schema.title).toEqual(expect.any(String));
    expect(schema.description).toEqual(expect.any(String));
    expect(() => JSON.stringify(schema)).not.toThrow();
  });

  test('carry ids that are used once', () => {
    expect(new Set(Object.values(SCHEMA_IDS)).size).toBe(names.length);
    expect(Object.keys(busSchemas).sort()).toEqual([...names].sort());
  });
});

describe('asyncApiDocument', () => {
  // biome-ignore lint/suspicious/noExplicitAny: a JSON document of another standard
  const document = JSON.parse(JSON.stringify(asyncApiDocument({ root: 'site/bus', version: '0.1.0' }))) as any;

  test('resolves every reference', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path]) => path ?? '');
    expect(references.length).toBeGreaterThan(20);
    for (const path of references) {
      // biome-ignore lint/suspicious/noExplicitAny: walks any document
      const target = path.split('/').reduce<any>((node, key) => node?.[key], document);
      expect(target, path).toBeTypeOf('object');
    }
  });

  test('has each topic of the contract with QoS, retain and direction', () => {
    expect(document).toMatchObject({
      asyncapi: '3.0.0',
      info: { version: '0.1.0' },
      defaultContentType: 'application/json',
    });
    const table = Object.values(
      document.operations as Record<
        string,
        { action: string; channel: { $ref: string }; bindings: { mqtt: { qos: number; retain: boolean } } }
      >,
    ).map(({ action, channel, bindings }) => {
      const { address } = document.channels[channel.$ref.split('/')[2] ?? ''];
      return `${action} ${address} ${bindings.mqtt.qos} ${bindings.mqtt.retain}`;
    });
    const verbs = 'ask describe locate snapshot find health watch/add watch/change watch/remove watch/list'.split(' ');
    expect(table).toEqual([
      'send site/bus/{device}/availability 1 true',
      'send site/bus/{device}/info 1 true',
      'send site/bus/{device}/health 1 true',
      'send site/bus/{device}/camera/{camera}/status 1 true',
      'send site/bus/{device}/camera/{camera}/scene 1 true',
      'send site/bus/{device}/camera/{camera}/event 1 false',
      'send site/bus/{device}/camera/{camera}/watch/{watch}/state 1 true',
      'send site/bus/{device}/camera/{camera}/{setting}/state 1 true',
      'receive site/bus/{device}/camera/{camera}/{setting}/set 1 false',
      ...verbs.flatMap((verb) => [
        `receive site/bus/{device}/request/${verb} 1 false`,
        `send site/bus/{device}/response/${verb} 1 false`,
      ]),
      'receive site/bus/call 1 false',
      ...['ask', 'describe', 'locate'].map((verb) => `receive site/bus/group/{group}/request/${verb} 1 false`),
      'send site/bus/group/{group}/member/{device} 1 true',
      'receive site/bus/group/{group}/call 1 false',
      ...['claim', 'probe', 'heard'].map((name) => `send site/bus/group/{group}/${name} 1 false`),
    ]);
    expect(document.servers.broker.bindings.mqtt.lastWill).toMatchObject({
      topic: 'site/bus/{device}/availability',
      retain: true,
    });
  });

  test('declares each parameter of an address', () => {
    for (const { address, parameters } of Object.values(
      document.channels as Record<string, { address: string; parameters: object }>,
    )) {
      expect([...address.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)).toEqual(Object.keys(parameters));
    }
  });
});
