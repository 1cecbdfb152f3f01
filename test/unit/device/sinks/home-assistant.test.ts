import { describe, expect, test } from 'vitest';
import { type Described, discoveryMessage } from '#device/sinks/home-assistant/discovery.js';
import { deviceIdOf, idOf, slugOf } from '#device/sinks/home-assistant/names.js';
import { discoveryPlace } from '#device/sinks/home-assistant/sink.js';
import { busTopics } from '#sdk/bus/index.js';
import { DISCOVERY_TOPIC, discoverySchema, rendered } from '../../../support/home-assistant.js';

const NAMES = [
  ['a', 'b'],
  ['a__b'],
  ['a_b'],
  ['a', '_b'],
  ['a_', 'b'],
  ['a/b'],
  ['A', 'b'],
  ['..'],
  ['__proto__'],
  ['constructor'],
  ['%2f'],
  ['+'],
  ['#'],
  ['摄像头'],
  ['Küche'],
  ['K\u0075\u0308che'],
  ['x'.repeat(64)],
  ['摄'.repeat(64)],
  ['像'.repeat(64)],
];

const describedBy = (input: Partial<Described> = {}): Described => ({
  topics: busTopics('scenebus', 'kiosk 3'),
  cameras: ['front', 'back'],
  watches: [
    { id: 'visitor', question: 'Is anybody there?', answerType: 'yes-no' },
    { id: 'cups', question: 'How many cups?', answerType: 'number', cameras: ['front'] },
    { id: 'colour', question: 'Which colour?', answerType: 'choice', choices: ['red', 'blue'] },
    { id: 'words', question: 'What is new?', answerType: 'text' },
  ],
  metrics: ['gpuTemperatureCelsius', 'vddInPowerWatts', 'questionsWaiting', 'promptTokens', "x'] }}"],
  model: 'demo',
  sceneExpirySeconds: 300,
  known: new Map(),
  ...input,
});

describe('ids for Home Assistant', () => {
  test('have only the characters that it takes, and differ where names do', () => {
    const ids = NAMES.map((names) => idOf(...names));
    for (const id of ids) expect(id).toMatch(/^[a-zA-Z0-9_-]+$/);
    expect(new Set(ids).size).toBe(NAMES.length);
    for (const [name] of NAMES) {
      const { prefix, levels } = discoveryPlace('homeassistant', 'scenebus', name!);
      expect(`${prefix}/${levels.join('/')}`).toMatch(DISCOVERY_TOPIC);
    }
  });

  test('of one device name below different roots are different', () => {
    const ids = [
      deviceIdOf('scenebus', 'a'),
      deviceIdOf('hall', 'a'),
      deviceIdOf('hall/a', 'b'),
      deviceIdOf('hall', 'a/b'),
    ];
    expect(new Set(ids).size).toBe(ids.length);
  });

  test('of entities are lower case slugs, whatever the names', () => {
    expect(slugOf('Kiosk 3', 'Küche', 'scene')).toBe('kiosk_3_k_che_scene');
    expect(slugOf('摄像头')).toBe('scenebus');
  });
});

describe('the discovery message', () => {
  test('is one that the documentation of Home Assistant describes, with every entity', () => {
    const message = discoverySchema.parse(JSON.parse(JSON.stringify(discoveryMessage(describedBy()))));
    const names = Object.values(message.cmps).map((each) => ('name' in each ? `${each.p} ${each.name}` : ''));
    expect(names).toEqual([
      'binary_sensor Problem',
      'sensor Uptime',
      'sensor Temperature gpu',
      'sensor Power vddIn',
      'sensor Questions waiting',
      'sensor front scene',
      'binary_sensor front problem',
      'switch front describe',
      'switch front watches',
      'switch front privacy',
      'binary_sensor front visitor',
      'sensor front cups',
      'sensor front colour',
      'sensor front words',
      'sensor back scene',
      'binary_sensor back problem',
      'switch back describe',
      'switch back watches',
      'switch back privacy',
      'binary_sensor back visitor',
      'sensor back colour',
      'sensor back words',
    ]);
  });

  test('takes away what was announced before and is gone, also a watch that answers with something else now', () => {
    const known = new Map([
      [idOf('camera', 'front', 'watch', 'cups', 'binary'), 'binary_sensor'],
      [idOf('camera', 'old', 'scene'), 'sensor'],
      [idOf('camera', 'front', 'scene'), 'sensor'],
    ] as const);
    const { cmps } = discoverySchema.parse(discoveryMessage(describedBy({ known })));
    expect(cmps[idOf('camera', 'front', 'watch', 'cups', 'binary')]).toEqual({ p: 'binary_sensor' });
    expect(cmps[idOf('camera', 'old', 'scene')]).toEqual({ p: 'sensor' });
    expect(cmps[idOf('camera', 'front', 'scene')]).toMatchObject({ name: 'front scene' });
  });

  test('keeps cameras apart that are called like parts of it', () => {
    const cameras = ['device', 'metric', 'camera', 'problem', 'scene', '__proto__', 'constructor'];
    const message = discoverySchema.parse(discoveryMessage(describedBy({ cameras, watches: [], metrics: [] })));
    expect(Object.keys(message.cmps)).toHaveLength(2 + 5 * cameras.length);
  });

  test('reads values as they are published, and unknown ones as unknown', () => {
    const { cmps } = discoveryMessage(describedBy());
    const read = (id: string, payload: object) => rendered(String(cmps[id]?.value_template), payload);
    const watch = (id: string, kind: string) => idOf('camera', 'front', 'watch', id, kind);
    expect(read(watch('visitor', 'binary'), { value: true })).toBe('ON');
    expect(read(watch('visitor', 'binary'), { value: false })).toBe('OFF');
    expect(read(watch('visitor', 'binary'), { value: null })).toBe('None');
    expect(read(watch('cups', 'value'), { value: 0 })).toBe('0');
    expect(read(watch('colour', 'value'), { value: 'red' })).toBe('red');
    expect(read(watch('words', 'value'), { value: 'w'.repeat(400) })).toHaveLength(255);
    const scene = idOf('camera', 'front', 'scene');
    expect(read(scene, { text: 'A cup. {{ 7 * 7 }}' })).toBe('A cup. {{ 7 * 7 }}');
    expect(read(scene, { text: '[{"box":[1]}]', sentence: 'There.' })).toBe('There.');
    expect(read(idOf('metric', 'gpuTemperatureCelsius'), { metrics: { gpuTemperatureCelsius: 41.5 } })).toBe('41.5');
    expect(read(idOf('metric', 'gpuTemperatureCelsius'), { metrics: {} })).toBe('None');
    expect(read(idOf('device', 'problem'), { state: 'degraded' })).toBe('ON');
    expect(read(idOf('camera', 'front', 'setting', 'privacy'), { value: true })).toBe('true');
  });
});
