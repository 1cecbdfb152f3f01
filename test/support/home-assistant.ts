/**
 * What Home Assistant takes for a discovery message of a device, written from its documentation and not from our code:
 * https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery, …/sensor.mqtt/, …/binary_sensor.mqtt/,
 * …/switch.mqtt/ (required and known options), and how it reads a message with a template.
 */
import { Template } from '@huggingface/jinja';
import { z } from 'zod';

const topic = z.string().regex(/^[^+#]+$/);
const template = z.string().refine(compiles, { error: 'is no template' });
const availability = z.array(
  z.strictObject({
    topic,
    payload_available: z.string().optional(),
    payload_not_available: z.string().optional(),
    value_template: template.optional(),
  }),
);
/** Of every entity of a device: without a unique id it would not be one. */
const common = {
  unique_id: z.string().min(1),
  default_entity_id: z.string(),
  name: z.string().min(1).max(255),
  icon: z
    .string()
    .regex(/^mdi:[a-z-]+$/)
    .optional(),
  entity_category: z.enum(['config', 'diagnostic']).optional(),
  availability: availability.optional(),
  availability_mode: z.enum(['all', 'any', 'latest']).optional(),
  json_attributes_topic: topic.optional(),
  json_attributes_template: template.optional(),
  state_topic: topic,
  value_template: template.optional(),
};
const entityId = (domain: string) => z.string().regex(new RegExp(`^${domain}\\.[a-z0-9]+(_[a-z0-9]+)*$`));

const component = z.discriminatedUnion('p', [
  z
    .strictObject({
      ...common,
      p: z.literal('sensor'),
      default_entity_id: entityId('sensor'),
      device_class: z.enum(['duration', 'data_size', 'temperature', 'power', 'enum']).optional(),
      state_class: z.enum(['measurement', 'total', 'total_increasing']).optional(),
      unit_of_measurement: z.string().optional(),
      options: z.array(z.string()).min(1).optional(),
      expire_after: z.int().min(0).optional(),
    })
    .refine(({ options, device_class }) => (options !== undefined) === (device_class === 'enum'), {
      error: 'options belong to the class enum',
    })
    .refine(({ options, state_class, unit_of_measurement }) => !options || (!state_class && !unit_of_measurement)),
  z.strictObject({
    ...common,
    p: z.literal('binary_sensor'),
    default_entity_id: entityId('binary_sensor'),
    device_class: z.enum(['problem']).optional(),
  }),
  z.strictObject({
    ...common,
    p: z.literal('switch'),
    default_entity_id: entityId('switch'),
    command_topic: topic,
    payload_on: z.string(),
    payload_off: z.string(),
    retain: z.boolean(),
  }),
]);
const removed = z.strictObject({ p: z.enum(['sensor', 'binary_sensor', 'switch']) });

export const discoverySchema = z
  .strictObject({
    dev: z.strictObject({
      ids: z.array(z.string()).min(1),
      name: z.string(),
      mf: z.string(),
      mdl: z.string().optional(),
      sw: z.string(),
    }),
    o: z.strictObject({ name: z.string(), sw: z.string().optional(), url: z.url().optional() }),
    availability,
    qos: z.literal([0, 1, 2]),
    // Home Assistant splits ids of components at spaces.
    cmps: z.record(z.string().regex(/^\S+$/), z.union([component, removed])),
  })
  .refine(({ cmps }) => {
    const ids = Object.values(cmps).flatMap((each) => ('unique_id' in each ? [each.unique_id] : []));
    return new Set(ids).size === ids.length;
  }, 'unique ids are not');

/** `<discovery_prefix>/device/<object_id>/config`, and nothing else for us. */
export const DISCOVERY_TOPIC = /^homeassistant\/device\/[a-zA-Z0-9_-]+\/config$/;

/** What an entity makes of a message on its topic. */
export function rendered(text: string, payload: unknown): string {
  return new Template(text).render({ value_json: payload });
}

function compiles(text: string): boolean {
  try {
    new Template(text);
    return true;
  } catch {
    return false;
  }
}
