/** The bus as an AsyncAPI 3 document, made from the schemas that check every payload. */
import { CHANNELS, type Channel, FLEET_CHANNELS } from './channels.js';
import { busJsonSchema, jsonSchemaOf } from './json-schema.js';
import { errorResponseSchema, partialResponseSchema, SCHEMA_IDS, type SchemaName } from './schemas/index.js';
import { CAMERA_SETTINGS } from './settings.js';
import { DEFAULT_ROOT } from './topics.js';
import { VERBS } from './verbs.js';

const ALL_CHANNELS = [...CHANNELS, ...FLEET_CHANNELS];
const BINDING_VERSION = '0.2.0';

export interface AsyncApiOptions {
  readonly root?: string | undefined;
  /** Version of the document: that of SceneBus. */
  readonly version?: string | undefined;
}

const PARAMETERS = {
  device: { description: 'Name of the device' },
  group: { description: 'Name of a group of devices' },
  camera: { description: 'Id of the camera' },
  watch: { description: 'Id of the watch' },
  setting: { description: 'Name of the setting', enum: [...CAMERA_SETTINGS] },
} as const;

const PROPERTY_BINDINGS = {
  responseTopic: {
    responseTopic: { type: 'string', description: 'Where the answer goes; on 3.1.1 the field responseTopic' },
  },
  correlationData: {
    correlationData: { type: 'string', description: 'Comes back as it was sent; on 3.1.1 the field transaction' },
  },
} as const;

/** A JSON-ready document; `{device}`, `{camera}` … are parameters of the addresses. */
export function asyncApiDocument(options: AsyncApiOptions = {}): Record<string, unknown> {
  const root = options.root ?? DEFAULT_ROOT;
  const schemas = (Object.keys(SCHEMA_IDS) as SchemaName[])
    .filter((name) => name !== 'response')
    .map((name) => [name, withoutIds(busJsonSchema(name, 'draft-7'))]);
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'SceneBus',
      version: options.version ?? '1',
      description: 'Scene descriptions and grounded answers over MQTT 5 and 3.1.1. All payloads are JSON in UTF-8.',
      license: { name: 'Apache-2.0' },
    },
    defaultContentType: 'application/json',
    servers: {
      broker: {
        host: 'localhost:1883',
        protocol: 'mqtt',
        bindings: {
          mqtt: {
            cleanSession: false,
            lastWill: {
              topic: `${root}/{device}/availability`,
              qos: 1,
              retain: true,
              message: 'An availability payload with the state offline',
            },
            bindingVersion: BINDING_VERSION,
          },
        },
      },
    },
    channels: Object.fromEntries([
      ...CHANNELS.map((channel) => [channel.name, channelOf(channel, `${root}/{device}`)]),
      ...FLEET_CHANNELS.map((channel) => [channel.name, channelOf(channel, root)]),
    ]),
    operations: Object.fromEntries(
      ALL_CHANNELS.map((channel) => [`${channel.action}-${channel.name}`, operationOf(channel)]),
    ),
    components: {
      messages: Object.fromEntries(ALL_CHANNELS.map((channel) => [channel.name, messageOf(channel)])),
      schemas: Object.fromEntries([...schemas, ...responseSchemas()]),
    },
  };
}

/** One schema for each verb: the answer to it, a piece of the answer where it streams, or a refusal. */
function responseSchemas(): (readonly [string, object])[] {
  const plain = { dialect: 'draft-7', isOpen: true } as const;
  return [
    ['refusal', withoutIds(jsonSchemaOf(errorResponseSchema, plain))],
    ['partial', withoutIds(jsonSchemaOf(partialResponseSchema, plain))],
    ...CHANNELS.filter(({ action, verb }) => action === 'send' && verb !== undefined).map(({ name, verb }) => {
      const definition = VERBS[verb ?? 'ask'];
      const answer = withoutIds(jsonSchemaOf(definition.response, plain));
      const refs = 'stream' in definition.request.shape ? ['refusal', 'partial'] : ['refusal'];
      const others = refs.map((ref) => ({ $ref: `#/components/schemas/${ref}` }));
      return [name, { title: `Response to ${verb}`, oneOf: [answer, ...others] }] as const;
    }),
  ];
}

/** Inside a document, schemas are found by their place; an id of their own would move the base of references. */
function withoutIds({ $id, $schema, ...schema }: { readonly [key: string]: unknown }): object {
  return schema;
}

function channelOf(channel: Channel, base: string): object {
  const address = `${base}/${channel.address}`;
  const names = [...address.matchAll(/\{(\w+)\}/g)].map(([, name]) => name as keyof typeof PARAMETERS);
  return {
    address,
    messages: { [channel.name]: { $ref: `#/components/messages/${channel.name}` } },
    parameters: Object.fromEntries(names.map((name) => [name, PARAMETERS[name]])),
  };
}

function messageOf(channel: Channel): object {
  const isResponse = channel.payload === 'response';
  return {
    name: SCHEMA_IDS[channel.payload],
    summary: channel.summary,
    contentType: 'application/json',
    payload: { $ref: `#/components/schemas/${isResponse ? channel.name : channel.payload}` },
    bindings: {
      mqtt: {
        payloadFormatIndicator: 1,
        ...(channel.properties.includes('responseTopic') ? PROPERTY_BINDINGS.responseTopic : {}),
        ...(channel.properties.includes('correlationData') ? PROPERTY_BINDINGS.correlationData : {}),
        bindingVersion: BINDING_VERSION,
      },
    },
  };
}

function operationOf(channel: Channel): object {
  const reply = channel.name.replace(/Request$/, 'Response');
  return {
    action: channel.action,
    channel: { $ref: `#/channels/${channel.name}` },
    summary: channel.summary,
    messages: [{ $ref: `#/channels/${channel.name}/messages/${channel.name}` }],
    bindings: {
      mqtt: {
        qos: 1,
        retain: channel.retain,
        ...(channel.action === 'send' && channel.properties.includes('messageExpiry')
          ? { messageExpiryInterval: 300 }
          : {}),
        bindingVersion: BINDING_VERSION,
      },
    },
    ...(channel.verb !== undefined && channel.action === 'receive' && CHANNELS.includes(channel)
      ? { reply: { channel: { $ref: `#/channels/${reply}` } } }
      : {}),
  };
}
