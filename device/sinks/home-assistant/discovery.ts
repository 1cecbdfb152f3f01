/**
 * The discovery message of Home Assistant: one for the device, with every entity in it. Its form is that of
 * https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload with the options of
 * /integrations/sensor.mqtt, /binary_sensor.mqtt and /switch.mqtt there. `default_entity_id` took the place of
 * `object_id` in release 2025.10.
 */
import { version } from 'scenebus';
import { type BusTopics, CAMERA_SETTINGS, type WatchDefinition } from 'scenebus/bus';
import { deviceIdOf, idOf, slugOf } from './names.js';

/** An entity as Home Assistant is told of it; of one that is gone only the platform. */
export type Component = { readonly p: Platform } & Readonly<Record<string, unknown>>;
export type Platform = 'sensor' | 'binary_sensor' | 'switch';

export interface DiscoveryMessage {
  readonly dev: Readonly<Record<string, unknown>>;
  readonly o: { readonly name: string; readonly sw: string };
  readonly availability: readonly object[];
  readonly qos: number;
  readonly cmps: Readonly<Record<string, Component>>;
}

export interface Described {
  readonly topics: BusTopics;
  readonly cameras: readonly string[];
  readonly watches: readonly WatchDefinition[];
  /** Names of figures in `health`. */
  readonly metrics: readonly string[];
  /** undefined: none is loaded. */
  readonly model: string | undefined;
  readonly sceneExpirySeconds: number;
  /** Components that were announced before and may be gone now, with their platforms. */
  readonly known: ReadonlyMap<string, Platform>;
}

/** Home Assistant stores at most so many characters of a state. */
const STATE_CHARACTERS = 255;
/** Its recorder drops attributes of more than 16 KiB. */
const ATTRIBUTE_CHARACTERS = 4_000;
const METRIC = /^[A-Za-z][A-Za-z0-9]{0,63}$/;
const UNKNOWN = "'None'";

export function discoveryMessage(described: Described): DiscoveryMessage {
  const { topics, known, model } = described;
  const cmps: Record<string, Component> = {};
  for (const [id, component] of componentsOf(described)) cmps[id] = component;
  // A component with nothing but its platform is removed ("An empty config can be published as an update").
  for (const [id, platform] of known) if (!Object.hasOwn(cmps, id)) cmps[id] = { p: platform };
  return {
    dev: {
      ids: [deviceIdOf(topics.root, topics.device)],
      name: topics.device,
      mf: 'SceneBus',
      ...(model === undefined ? {} : { mdl: model }),
      sw: version,
    },
    o: { name: 'SceneBus', sw: version },
    availability: [deviceAvailability(topics)],
    qos: 1,
    cmps,
  };
}

/** The metrics of `health` that Home Assistant is told of: those for people. */
export function isTold(name: string): boolean {
  if (!METRIC.test(name)) return false;
  return /(TemperatureCelsius|PowerWatts)$/.test(name) || Object.hasOwn(FIGURES, name);
}

const FIGURES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  questionsWaiting: { name: 'Questions waiting', state_class: 'measurement' },
  modelRestarts: { name: 'Model restarts', state_class: 'total_increasing' },
  serviceMemoryBytes: { name: 'Memory of the service', device_class: 'data_size', unit_of_measurement: 'B' },
  modelMemoryBytes: { name: 'Memory of the model', device_class: 'data_size', unit_of_measurement: 'B' },
  gpuLoadPercent: { name: 'GPU load', state_class: 'measurement', unit_of_measurement: '%' },
  overCurrentThrottlings: { name: 'Over-current throttlings', state_class: 'total_increasing' },
};

function* componentsOf(described: Described): Generator<[string, Component]> {
  const { topics, cameras, watches, metrics } = described;
  const entity = (p: Platform, parts: readonly string[], slug: readonly string[], options: object) => {
    const id = idOf(...parts);
    const device = deviceIdOf(topics.root, topics.device);
    return [
      id,
      {
        p,
        unique_id: `${device}__${id}`,
        default_entity_id: `${p}.${slugOf(topics.device, ...slug)}`,
        ...options,
      },
    ] as [string, Component];
  };
  yield entity('binary_sensor', ['device', 'problem'], ['problem'], {
    name: 'Problem',
    device_class: 'problem',
    entity_category: 'diagnostic',
    state_topic: topics.health,
    value_template: "{{ 'OFF' if value_json.state in ['starting', 'running'] else 'ON' }}",
    json_attributes_topic: topics.health,
    json_attributes_template:
      "{{ {'state': value_json.state, 'problems': value_json.problems | map(attribute='message') | list} | tojson }}",
  });
  yield entity('sensor', ['device', 'uptime'], ['uptime'], {
    name: 'Uptime',
    device_class: 'duration',
    unit_of_measurement: 's',
    entity_category: 'diagnostic',
    state_topic: topics.health,
    value_template: '{{ value_json.uptimeSeconds }}',
  });
  for (const name of metrics.filter(isTold)) {
    yield entity('sensor', ['metric', name], [name], {
      ...figureOf(name),
      entity_category: 'diagnostic',
      state_topic: topics.health,
      // What a board does not tell at the moment is not there.
      value_template: `{{ value_json.metrics.${name} | default(${UNKNOWN}) }}`,
    });
  }
  for (const camera of cameras) {
    const availability = { availability: [deviceAvailability(topics), cameraAvailability(topics, camera)] };
    const whileSeen = { ...availability, availability_mode: 'all' };
    yield entity('sensor', ['camera', camera, 'scene'], [camera, 'scene'], {
      name: `${camera} scene`,
      icon: 'mdi:text-box-outline',
      state_topic: topics.cameraScene(camera),
      value_template: `{{ (value_json.sentence | default(value_json.text))[:${STATE_CHARACTERS}] }}`,
      json_attributes_topic: topics.cameraScene(camera),
      json_attributes_template: `{{ {'text': value_json.text[:${ATTRIBUTE_CHARACTERS}], 'frameTs': value_json.frameTs, 'frameId': value_json.frameId, 'model': value_json.model.id, 'generatedByModel': true} | tojson }}`,
      expire_after: described.sceneExpirySeconds,
      ...whileSeen,
    });
    yield entity('binary_sensor', ['camera', camera, 'problem'], [camera, 'problem'], {
      name: `${camera} problem`,
      device_class: 'problem',
      entity_category: 'diagnostic',
      state_topic: topics.cameraStatus(camera),
      value_template: "{{ 'OFF' if value_json.state in ['starting', 'running', 'ended'] else 'ON' }}",
      json_attributes_topic: topics.cameraStatus(camera),
      json_attributes_template: "{{ {'state': value_json.state, 'reason': value_json.reason} | tojson }}",
    });
    for (const setting of CAMERA_SETTINGS) {
      yield entity('switch', ['camera', camera, 'setting', setting], [camera, setting], {
        name: `${camera} ${setting}`,
        entity_category: 'config',
        state_topic: topics.cameraSetting(camera, setting),
        command_topic: topics.settingCommand(camera, setting),
        value_template: "{{ 'true' if value_json.value else 'false' }}",
        payload_on: 'true',
        payload_off: 'false',
        // A retained command would be carried out after every reconnect, and is refused.
        retain: false,
      });
    }
    for (const watch of watches.filter(({ cameras: of }) => of?.includes(camera) ?? true)) {
      const [platform, options] = watchOptions(watch);
      // Another platform is another component: of one that changes its type the old one is taken away.
      const kind = platform === 'sensor' ? 'value' : 'binary';
      yield entity(platform, ['camera', camera, 'watch', watch.id, kind], [camera, watch.id], {
        name: `${camera} ${watch.id}`,
        state_topic: topics.watchState(camera, watch.id),
        json_attributes_topic: topics.watchState(camera, watch.id),
        json_attributes_template: `{{ {'question': value_json.question, 'probability': value_json.probability, 'frameTs': value_json.frameTs, 'frameId': value_json.frameId, 'generatedByModel': true} | tojson }}`,
        ...options,
        ...whileSeen,
      });
    }
  }
}

function watchOptions({ answerType, choices }: WatchDefinition): [Platform, object] {
  const known = (value: string) => `{{ ${value} if value_json.value is not none else ${UNKNOWN} }}`;
  if (answerType === 'yes-no')
    return ['binary_sensor', { value_template: known("('ON' if value_json.value else 'OFF')") }];
  if (answerType === 'number')
    return ['sensor', { value_template: known('value_json.value'), state_class: 'measurement' }];
  if (answerType === 'choice')
    return ['sensor', { value_template: known('value_json.value'), device_class: 'enum', options: choices }];
  return ['sensor', { value_template: known(`value_json.value[:${STATE_CHARACTERS}]`) }];
}

function figureOf(name: string): object {
  const figure = Object.hasOwn(FIGURES, name) ? FIGURES[name] : undefined;
  if (figure !== undefined) return figure;
  const [, what = name, kind] = /^(.*)(TemperatureCelsius|PowerWatts)$/.exec(name) ?? [];
  return kind === 'PowerWatts'
    ? { name: `Power ${what}`, device_class: 'power', state_class: 'measurement', unit_of_measurement: 'W' }
    : {
        name: `Temperature ${what}`,
        device_class: 'temperature',
        state_class: 'measurement',
        unit_of_measurement: '°C',
      };
}

function deviceAvailability({ availability: topic }: BusTopics): object {
  return { topic, value_template: "{{ 'online' if value_json.state == 'online' else 'offline' }}" };
}

/** What is known of a camera that is down is old. */
function cameraAvailability(topics: BusTopics, camera: string): object {
  const value_template = "{{ 'online' if value_json.state in ['running', 'ended'] else 'offline' }}";
  return { topic: topics.cameraStatus(camera), value_template };
}
