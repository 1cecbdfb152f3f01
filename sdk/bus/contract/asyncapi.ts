/** The bus as an AsyncAPI 3 document, made from the schemas that check every payload. */
import { busJsonSchema, SCHEMA_IDS, type SchemaName } from './schemas/index.js';
import { DEFAULT_ROOT } from './topics.js';

interface ChannelPlan {
  readonly name: string;
  readonly address: string;
  readonly payload: SchemaName;
  /** send: the device publishes; receive: the device subscribes. */
  readonly action: 'send' | 'receive';
  readonly retain: boolean;
  readonly summary: string;
  readonly messageBinding?: Readonly<Record<string, unknown>>;
  readonly operationBinding?: Readonly<Record<string, unknown>>;
}

const CHANNELS: readonly ChannelPlan[] = [
  {
    name: 'availability',
    address: 'availability',
    payload: 'availability',
    action: 'send',
    retain: true,
    summary: 'Presence: birth, will and shutdown',
  },
  {
    name: 'info',
    address: 'info',
    payload: 'info',
    action: 'send',
    retain: true,
    summary: 'Versions, model, cameras, limits',
  },
  {
    name: 'health',
    address: 'health',
    payload: 'health',
    action: 'send',
    retain: true,
    summary: 'State of the service',
  },
  {
    name: 'cameraStatus',
    address: 'camera/{camera}/status',
    payload: 'cameraStatus',
    action: 'send',
    retain: true,
    summary: 'State of a camera',
  },
  {
    name: 'scene',
    address: 'camera/{camera}/scene',
    payload: 'scene',
    action: 'send',
    retain: true,
    summary: 'Latest description of what a camera sees',
    operationBinding: { messageExpiryInterval: 300 },
  },
  {
    name: 'askRequest',
    address: 'request/ask',
    payload: 'ask',
    action: 'receive',
    retain: false,
    summary: 'A question; the message expiry is its deadline',
    messageBinding: {
      responseTopic: { type: 'string', description: 'Where the answer goes; on 3.1.1 the field responseTopic' },
      correlationData: { type: 'string', description: 'Echoed; on 3.1.1 the field transaction' },
    },
  },
  {
    name: 'askResponse',
    address: 'response/ask',
    payload: 'response',
    action: 'send',
    retain: false,
    summary: 'The answer, when the question named no response topic',
    messageBinding: { correlationData: { type: 'string', description: 'From the question' } },
  },
];

const BINDING_VERSION = '0.2.0';

export interface AsyncApiOptions {
  readonly root?: string | undefined;
  /** Version of the document: that of SceneBus. */
  readonly version?: string | undefined;
}

/** A JSON-ready document; `{device}` and `{camera}` are parameters of the addresses. */
export function asyncApiDocument(options: AsyncApiOptions = {}): Record<string, unknown> {
  const root = options.root ?? DEFAULT_ROOT;
  const names = Object.keys(SCHEMA_IDS) as SchemaName[];
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
            lastWill: { topic: `${root}/{device}/availability`, qos: 1, retain: true, message: 'state: offline' },
            bindingVersion: BINDING_VERSION,
          },
        },
      },
    },
    channels: Object.fromEntries(CHANNELS.map((plan) => [plan.name, channelOf(plan, root)])),
    operations: Object.fromEntries(CHANNELS.map((plan) => [`${plan.action}-${plan.name}`, operationOf(plan)])),
    components: {
      messages: Object.fromEntries(CHANNELS.map((plan) => [plan.name, messageOf(plan)])),
      schemas: Object.fromEntries(names.map((name) => [name, busJsonSchema(name)])),
    },
  };
}

function channelOf(plan: ChannelPlan, root: string): object {
  return {
    address: `${root}/{device}/${plan.address}`,
    messages: { [plan.name]: { $ref: `#/components/messages/${plan.name}` } },
    parameters: {
      device: { description: 'Name of the device' },
      ...(plan.address.includes('{camera}') ? { camera: { description: 'Id of the camera' } } : {}),
    },
  };
}

function messageOf(plan: ChannelPlan): object {
  return {
    name: SCHEMA_IDS[plan.payload],
    summary: plan.summary,
    contentType: 'application/json',
    payload: { $ref: `#/components/schemas/${plan.payload}` },
    bindings: { mqtt: { payloadFormatIndicator: 1, ...plan.messageBinding, bindingVersion: BINDING_VERSION } },
  };
}

function operationOf(plan: ChannelPlan): object {
  return {
    action: plan.action,
    channel: { $ref: `#/channels/${plan.name}` },
    summary: plan.summary,
    messages: [{ $ref: `#/channels/${plan.name}/messages/${plan.name}` }],
    bindings: { mqtt: { qos: 1, retain: plan.retain, ...plan.operationBinding, bindingVersion: BINDING_VERSION } },
    ...(plan.name === 'askRequest' ? { reply: { channel: { $ref: '#/channels/askResponse' } } } : {}),
  };
}
