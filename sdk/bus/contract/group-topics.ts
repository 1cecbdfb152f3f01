/** Topics of a group of devices: questions to any of them, and what its members say to each other. */
import { SdkError } from '../../core/errors.js';
import { checkRoot, checkSegment, GROUP_LEVEL, isTopicSegment } from './topic-levels.js';

/** Requests that any device can answer for another; the others are about one device. */
export const GROUP_VERBS = ['ask', 'describe', 'locate'] as const;
export type GroupVerb = (typeof GROUP_VERBS)[number];

export interface GroupTopics {
  readonly root: string;
  readonly group: string;
  /** Subscription filter for every request to the group. */
  readonly requests: string;
  /** The same as a shared subscription: the broker gives each request to one member. */
  readonly sharedRequests: string;
  /** Subscription filter for every member. */
  readonly members: string;
  /** Asks members to say that they are there. */
  readonly call: string;
  /** Who takes a request, where the broker gives each request to all. */
  readonly claim: string;
  /** Goes out to find whether the broker gives a message to exactly one member. */
  readonly probe: string;
  readonly sharedProbe: string;
  /** Who got the probe. */
  readonly heard: string;
  request(verb: GroupVerb): string;
  /** How a device stands in the group. */
  member(device: string): string;
}

/**
 * @param group name of the group: one level of a topic, in which MQTT 5 also allows no `/`, `+` and `#` as the name of
 *   a shared subscription [MQTT-4.8.2-1]
 * @throws SdkError ERR_ARGUMENT_INVALID when root, group or (later) a device cannot be a topic level
 */
export function groupTopics(root: string, group: string): GroupTopics {
  const base = `${checkRoot(root)}/${GROUP_LEVEL}/${checkSegment('a group name', group)}`;
  const share = (rest: string) => `$share/${group}/${base}/${rest}`;
  return {
    root,
    group,
    requests: `${base}/request/+`,
    sharedRequests: share('request/+'),
    members: `${base}/member/+`,
    call: `${base}/call`,
    claim: `${base}/claim`,
    probe: `${base}/probe`,
    sharedProbe: share('probe'),
    heard: `${base}/heard`,
    request: (verb) => {
      if (isGroupVerb(verb)) return `${base}/request/${verb}`;
      throw new SdkError(
        'ERR_ARGUMENT_INVALID',
        `Expected one of ${GROUP_VERBS.join(', ')} for a group, but received ${JSON.stringify(verb)}: other requests are about one device.`,
      );
    },
    member: (device) => `${base}/member/${checkSegment('a device name', device)}`,
  };
}

export function isGroupVerb(verb: string): verb is GroupVerb {
  return (GROUP_VERBS as readonly string[]).includes(verb);
}

export type ParsedGroupTopic =
  | { readonly group: string; readonly kind: 'request'; readonly verb: string }
  | { readonly group: string; readonly kind: 'member'; readonly device: string }
  | { readonly group: string; readonly kind: 'call' | 'claim' | 'probe' | 'heard' };

/** The meaning of a topic of a group under `root`, or undefined when it is none. */
export function parseGroupTopic(root: string, topic: string): ParsedGroupTopic | undefined {
  const base = `${root}/${GROUP_LEVEL}/`;
  if (!topic.startsWith(base)) return undefined;
  const levels = topic.slice(base.length).split('/');
  if (!levels.every(isTopicSegment)) return undefined;
  const [group, kind, name, ...rest] = levels;
  if (group === undefined || rest.length > 0) return undefined;
  switch (kind) {
    case 'request':
      return name === undefined ? undefined : { group, kind, verb: name };
    case 'member':
      return name === undefined ? undefined : { group, kind, device: name };
    case 'call':
    case 'claim':
    case 'probe':
    case 'heard':
      return name === undefined ? { group, kind } : undefined;
    default:
      return undefined;
  }
}
