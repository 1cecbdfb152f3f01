/** The contract as a page for people, made from the same schemas and channels as everything else. */
import { clientAccess, deviceAccess, groupAccess } from './access.js';
import { CHANNELS, type Channel, FLEET_CHANNELS } from './channels.js';
import { busJsonSchema, type JsonSchema, jsonSchemaOf } from './json-schema.js';
import {
  acceptedResponseSchema,
  errorResponseSchema,
  partialResponseSchema,
  SCHEMA_IDS,
  type SchemaName,
} from './schemas/index.js';
import { VERB_NAMES, VERBS } from './verbs.js';

const PROPERTY_NAMES = {
  willDelay: 'will delay',
  messageExpiry: 'message expiry',
  responseTopic: 'response topic',
  correlationData: 'correlation data',
} as const;

/** Fields that every device payload begins with; described once. */
const ENVELOPE = ['schema', 'device', 'run', 'seq', 'ts'];
/** Fields that every request may have; described once. */
const REQUEST_FIELDS = ['schema', 'transaction', 'responseTopic', 'timeoutMs', 'deadlineMs'];

/** Markdown: topics, rules, every payload field by field, and the access rules for a broker. */
export function contractReference(): string {
  const requests = new Set<SchemaName>(VERB_NAMES.map((verb) => VERBS[verb].requestName));
  const states = (Object.keys(SCHEMA_IDS) as SchemaName[]).filter((name) => name !== 'response' && !requests.has(name));
  const lines = [
    '# The bus contract',
    '',
    'Made from the schemas in `sdk/bus/contract/` by `scenebus bus schema --markdown`; do not edit. Beside this page lie',
    'the same schemas as JSON Schema (draft 2020-12, `schemas/`) and as an AsyncAPI 3 document (`asyncapi.json`).',
    '',
    '## Topics',
    '',
    'Under `<root>/<device>/`; the root is `scenebus` unless configured. All payloads are JSON in UTF-8, QoS 1.',
    '',
    ...topicTable(CHANNELS),
    '',
    'Groups of devices, and the roll call, under `<root>/`:',
    '',
    ...topicTable(FLEET_CHANNELS),
    '',
    '## Rules',
    '',
    ...RULES.map((rule) => `- ${rule}`),
    '',
    '## Payloads of devices',
    '',
    'Each begins with these fields, which are left out below:',
    '',
    ...fieldTable(busJsonSchema('availability'), (path) => ENVELOPE.includes(path)),
    '',
    ...states.flatMap((name) => payloadSection(name)),
    '## Requests and responses',
    '',
    'Every request may have these fields, which are left out below:',
    '',
    ...fieldTable(busJsonSchema('ask'), (path) => REQUEST_FIELDS.includes(path)),
    '',
    'A refusal or failure:',
    '',
    ...fieldTable(openSchema(errorResponseSchema), (path) => !ENVELOPE.includes(path)),
    '',
    'A piece of an answer, only with `"stream": true`:',
    '',
    ...fieldTable(openSchema(partialResponseSchema), (path) => !ENVELOPE.includes(path)),
    '',
    'A device of a group has taken the request, only with the field `group.attempt`:',
    '',
    ...fieldTable(openSchema(acceptedResponseSchema), (path) => !ENVELOPE.includes(path)),
    '',
    ...VERB_NAMES.flatMap((verb) => [
      `### \`${verb}\``,
      '',
      `${VERBS[verb].summary}. Request (\`${SCHEMA_IDS[VERBS[verb].requestName]}\`):`,
      '',
      ...fieldTable(busJsonSchema(VERBS[verb].requestName), (path) => !REQUEST_FIELDS.includes(path)),
      '',
      'Response:',
      '',
      ...fieldTable(openSchema(VERBS[verb].response), (path) => !ENVELOPE.includes(path)),
      '',
    ]),
    '## Access rules',
    '',
    'What the account of the device `<device>` needs at the broker, and nothing more. Without an optional subscription',
    'the device runs and says once in its log what it does without.',
    '',
    ...accessTable(),
    '',
  ];
  return lines.join('\n');
}

const RULES = [
  'A payload says its meaning and version in `schema`. Within a version, fields of device payloads may be added: readers ignore what they do not know. Requests are closed: unknown fields are refused by name.',
  'A state topic is retained and sent again after each reconnect; the same `run` and `seq` is the same message again.',
  'MQTT 5: the response topic is a property, correlation data come back byte for byte, and the message expiry is the deadline. MQTT 3.1.1: `responseTopic`, `transaction` and `timeoutMs` in the payload do the same. All of it works on both.',
  'Response topics must match the device’s allow-list (`<root>/#` unless configured) and never a topic that devices own.',
  'A retained request or command is refused: it would run again after every reconnect. (MQTT 3.1.1 does not show the flag of one that comes while the device listens; it is refused from the next connect on.)',
  'The same transaction (or correlation data) with the same payload is answered once: while it is being answered, and for ten seconds afterwards.',
  'A request past its deadline is refused with ERR_REQUEST_EXPIRED, and one that is still being answered then fails with it.',
  'A request to a group (`<root>/group/<group>/request/<verb>`) is answered by one device, which the answer names. While it is busy or degraded a device takes none. Who asks hears `accepted` soon (with the field `group.attempt`); without it within a few seconds, or without an answer, it asks once more with another transaction, `attempt` 2 and the device that had its turn in `exclude`. An answer with `group.attempt` 2 may be the second one.',
  'When too many requests wait, or a caller asks faster than allowed, the answer is ERR_BUSY with `retryAfterMs`. A caller is known by its response topic; all that use `response/<verb>` count as one.',
];

function topicTable(channels: readonly Channel[]): string[] {
  return [
    '| topic | payload | direction | retained | MQTT 5 properties |',
    '|---|---|---|---|---|',
    ...channels.map((channel) => topicRow(channel)),
  ];
}

function topicRow({ address, action, payload, retain, properties, summary }: Channel): string {
  const topic = address.replace(/\{(\w+)\}/g, '<$1>');
  const direction = action === 'send' ? 'from the device' : 'to the device';
  const names = properties.map((property) => PROPERTY_NAMES[property]).join(', ');
  return `| \`${topic}\` | \`${SCHEMA_IDS[payload]}\`: ${summary} | ${direction} | ${retain ? 'yes' : 'no'} | ${names} |`;
}

function payloadSection(name: SchemaName): string[] {
  const schema = busJsonSchema(name);
  return [
    `### ${schema.title ?? name}: \`${SCHEMA_IDS[name]}\``,
    '',
    `${schema.description ?? ''}.`,
    '',
    ...(name === 'settingCommand' ? [] : [...fieldTable(schema, (path) => !ENVELOPE.includes(path)), '']),
  ];
}

function openSchema(schema: Parameters<typeof jsonSchemaOf>[0]): JsonSchema {
  return jsonSchemaOf(schema, { dialect: 'draft-2020-12', isOpen: true });
}

function fieldTable(schema: JsonSchema, isWanted: (path: string) => boolean): string[] {
  const rows = [...fieldsOf(schema, '')].filter(({ path }) => isWanted(path.split(/[.[]/)[0] ?? ''));
  if (rows.length === 0) return ['No fields of its own.'];
  return [
    '| field | type | | meaning |',
    '|---|---|---|---|',
    ...rows.map(
      ({ path, type, isRequired, text }) => `| \`${path}\` | ${type} | ${isRequired ? '' : 'optional'} | ${text} |`,
    ),
  ];
}

interface Field {
  readonly path: string;
  readonly type: string;
  readonly isRequired: boolean;
  readonly text: string;
}

function* fieldsOf(schema: JsonSchema, prefix: string): Generator<Field> {
  for (const [key, value] of Object.entries(schema.properties ?? {})) {
    if (typeof value === 'boolean') continue;
    const property = value as JsonSchema;
    const path = `${prefix}${key}`;
    const text = [property.title, property.description].filter((part) => part !== undefined).join('. ');
    const isRequired = schema.required?.includes(key) ?? false;
    yield { path, type: typeOf(property), isRequired, text: text.replaceAll('|', '\\|') };
    const items = property.items as JsonSchema | undefined;
    if (property.type === 'object') yield* fieldsOf(property, `${path}.`);
    else if (items?.type === 'object') yield* fieldsOf(items, `${path}[].`);
  }
}

function typeOf(schema: JsonSchema): string {
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${JSON.stringify(value)}\``).join(' ');
  const choices = (schema.anyOf ?? schema.oneOf) as readonly JsonSchema[] | undefined;
  if (choices !== undefined) return choices.map(typeOf).join(' or ');
  if (schema.prefixItems !== undefined)
    return `[${(schema.prefixItems as readonly JsonSchema[]).map(typeOf).join(', ')}]`;
  if (schema.type === 'array') return `array of ${typeOf((schema.items ?? {}) as JsonSchema)}${bounds(schema)}`;
  return `${schema.type ?? 'any'}${bounds(schema)}`;
}

/** Limits that are more than what the type says anyway. */
function bounds(schema: JsonSchema): string {
  const low = schema.minimum ?? schema.minLength ?? schema.minItems;
  const high = schema.maximum ?? schema.maxLength ?? schema.maxItems;
  const isWide = high === undefined || Number(high) >= Number.MAX_SAFE_INTEGER;
  if (isWide) return low === undefined || Number(low) <= Number.MIN_SAFE_INTEGER ? '' : ` ≥ ${low}`;
  return low === undefined ? ` ≤ ${high}` : ` ${low}–${high}`;
}

function accessTable(): string[] {
  // Placeholders cannot be topic levels, so real names are put in and replaced.
  const shown = (filter: string): string =>
    `\`${filter.replace('ROOT', '<root>').replace('DEVICE', '<device>').replaceAll('GROUP', '<group>')}\``;
  const device = deviceAccess('ROOT', 'DEVICE');
  const client = clientAccess('ROOT', 'DEVICE');
  const group = groupAccess('ROOT', 'GROUP', 'DEVICE');
  const rows = (who: string, what: string, filters: readonly string[]): string[] =>
    filters.map((filter) => `| ${who} | ${what} | ${shown(filter)} |`);
  return [
    '| account | may | topic filter |',
    '|---|---|---|',
    ...rows('device', 'publish', device.publish),
    ...rows('device', 'subscribe', device.subscribe),
    ...rows('device', 'subscribe (optional)', device.subscribeOptional),
    ...rows('controller', 'publish', client.publish),
    ...rows('controller', 'subscribe', client.subscribe),
    ...rows('controller', 'subscribe (for what it follows)', client.subscribeOptional),
    ...rows('device of a group', 'publish', group.device.publish),
    ...rows('device of a group', 'subscribe', group.device.subscribe),
    ...rows('device of a group', 'subscribe (optional)', group.device.subscribeOptional),
    ...rows('controller of a group', 'publish', group.controller.publish),
    ...rows('controller of a group', 'subscribe (optional)', group.controller.subscribeOptional),
  ];
}
