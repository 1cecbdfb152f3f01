/** Every topic of the contract, once: AsyncAPI, the reference page and the access rules are made from this table. */
import { GROUP_VERBS } from './group-topics.js';
import type { SchemaName } from './schemas/index.js';
import { VERB_NAMES, VERBS, type VerbName } from './verbs.js';

/** send: the device publishes; receive: the device subscribes. */
export type ChannelAction = 'send' | 'receive';

export interface Channel {
  readonly name: string;
  /** Below `<root>/{device}/`; `{camera}`, `{setting}`, `{watch}` and, of groups, `{group}` and `{device}` are parameters. */
  readonly address: string;
  readonly action: ChannelAction;
  readonly payload: SchemaName;
  /** Of a request and its response. */
  readonly verb?: VerbName;
  readonly retain: boolean;
  readonly summary: string;
  /** MQTT 5 properties beside content type, payload format and the user property `schema`. */
  readonly properties: readonly ('willDelay' | 'messageExpiry' | 'responseTopic' | 'correlationData')[];
}

const STATES: readonly Channel[] = [
  state('availability', 'availability', 'Presence: birth, will and shutdown', ['willDelay']),
  state('info', 'info', 'Versions, model, cameras, verbs, limits'),
  state('health', 'health', 'State of the service'),
  state('cameraStatus', 'camera/{camera}/status', 'State of a camera'),
  state('scene', 'camera/{camera}/scene', 'Latest description of what a camera sees', ['messageExpiry']),
  {
    name: 'event',
    address: 'camera/{camera}/event',
    action: 'send',
    payload: 'event',
    retain: false,
    summary: 'A watch found something new, something else, or the end of it',
    properties: ['messageExpiry'],
  },
  state('watchState', 'camera/{camera}/watch/{watch}/state', 'How a watch stands at a camera'),
  state('cameraSetting', 'camera/{camera}/{setting}/state', 'How a setting of a camera stands'),
  {
    name: 'settingCommand',
    address: 'camera/{camera}/{setting}/set',
    action: 'receive',
    payload: 'settingCommand',
    retain: false,
    summary: 'Changes a setting of a camera; its state is the answer, also to a command that was refused',
    properties: [],
  },
];

/** `watch/add` becomes `watchAdd`. */
function verbCamelCase(verb: VerbName): string {
  return verb.replace(/\/(\w)/g, (_match, letter: string) => letter.toUpperCase());
}

/** Every topic, in the order in which people read about them. */
export const CHANNELS: readonly Channel[] = [
  ...STATES,
  ...VERB_NAMES.flatMap((verb): Channel[] => [
    {
      name: `${verbCamelCase(verb)}Request`,
      address: `request/${verb}`,
      action: 'receive',
      payload: VERBS[verb].requestName,
      verb,
      retain: false,
      summary: `${VERBS[verb].summary}; the message expiry is the deadline`,
      properties: ['messageExpiry', 'responseTopic', 'correlationData'],
    },
    {
      name: `${verbCamelCase(verb)}Response`,
      address: `response/${verb}`,
      action: 'send',
      payload: 'response',
      verb,
      retain: false,
      summary: 'The answer, when the request named no response topic',
      properties: ['correlationData'],
    },
  ]),
];

function state(name: SchemaName, address: string, summary: string, properties: Channel['properties'] = []): Channel {
  return { name, address, action: 'send', payload: name, retain: true, summary, properties };
}

/** What devices and callers say in a group, and the roll call; addresses are below `<root>/`. */
export const FLEET_CHANNELS: readonly Channel[] = [
  {
    name: 'rollCall',
    address: 'call',
    action: 'receive',
    payload: 'rollCall',
    retain: false,
    summary: 'Every device publishes its availability, info and health again',
    properties: [],
  },
  ...GROUP_VERBS.map(
    (verb): Channel => ({
      name: `group${verb.charAt(0).toUpperCase()}${verb.slice(1)}Request`,
      address: `group/{group}/request/${verb}`,
      action: 'receive',
      payload: VERBS[verb].requestName,
      verb,
      retain: false,
      summary: `${VERBS[verb].summary}, by any one device of a group`,
      properties: ['messageExpiry', 'responseTopic', 'correlationData'],
    }),
  ),
  {
    name: 'groupMember',
    address: 'group/{group}/member/{device}',
    action: 'send',
    payload: 'groupMember',
    retain: true,
    summary: 'How a device stands in the group',
    properties: [],
  },
  groupTalk('groupCall', 'call', 'receive', 'Every member publishes how it stands again'),
  groupTalk('groupClaim', 'claim', 'send', 'A member takes a request that all of them got'),
  groupTalk('groupProbe', 'probe', 'send', 'Finds whether the broker gives a message to exactly one member'),
  groupTalk('groupHeard', 'heard', 'send', 'A member got the probe'),
];

function groupTalk(name: SchemaName, level: string, action: ChannelAction, summary: string): Channel {
  return { name, address: `group/{group}/${level}`, action, payload: name, retain: false, summary, properties: [] };
}
