/** What a broker account of a device must be allowed to do, and nothing more. */
import { CHANNELS } from './channels.js';
import { GROUP_VERBS, groupTopics } from './group-topics.js';
import { busTopics, rollCallTopic } from './topics.js';

export interface AccessRules {
  /** Topic filters that the device publishes to. */
  readonly publish: readonly string[];
  /** Subscriptions without which the device hears no question. */
  readonly subscribe: readonly string[];
  /** Subscriptions that the device does without when the broker refuses them. */
  readonly subscribeOptional: readonly string[];
}

/**
 * Access rules of one device, for a broker's ACL.
 * @param responseTopics where answers may go besides `response/<verb>`; as in `BusOptions`. Default: the topics of
 *   `scenebus/client`.
 * @param outward places outside of the device's own topics; as in `BusOptions`. Default none.
 */
export function deviceAccess(
  root: string,
  device: string,
  responseTopics?: readonly string[],
  outward: { readonly publish?: readonly string[] | undefined; readonly listen?: readonly string[] | undefined } = {},
): AccessRules {
  const topics = busTopics(root, device);
  const filters = CHANNELS.filter(({ action }) => action === 'send').map(
    ({ address }) => `${root}/${device}/${address.replace(/\{\w+\}/g, '+')}`,
  );
  return {
    publish: [
      ...new Set([
        ...filters,
        ...(responseTopics ?? [`${root}/client/+/response`]),
        ...(outward.publish ?? []).map((prefix) => `${prefix}/#`),
      ]),
    ],
    subscribe: [topics.requests],
    subscribeOptional: [
      topics.watchRequests,
      topics.settingCommands,
      topics.availability,
      rollCallTopic(root),
      ...(outward.listen ?? []),
    ],
  };
}

/** What an account needs besides for one group: a device that is in it, or a controller that asks it. */
export function groupAccess(
  root: string,
  group: string,
  device: string,
): { readonly device: AccessRules; readonly controller: AccessRules } {
  const topics = groupTopics(root, group);
  return {
    device: {
      // A request that comes while it is busy it hands on to the others.
      publish: [topics.member(device), topics.call, topics.claim, topics.probe, topics.heard, topics.requests],
      subscribe: [topics.members, topics.call, topics.claim, topics.heard, topics.requests],
      // Only for the subscription of all members as one; without it they agree by claims.
      subscribeOptional: [topics.sharedRequests, topics.probe, topics.sharedProbe],
    },
    controller: {
      publish: GROUP_VERBS.map((verb) => topics.request(verb)),
      subscribe: [],
      subscribeOptional: [`${root}/+/availability`],
    },
  };
}

/** Access rules of a controller that uses `scenebus/client` with one device. */
export function clientAccess(root: string, device: string): AccessRules {
  const base = busTopics(root, device);
  const commands = CHANNELS.filter(({ action }) => action === 'receive').map(
    ({ address }) => `${root}/${device}/${address.replace(/\{\w+\}/g, '+')}`,
  );
  return {
    publish: commands,
    subscribe: [`${root}/client/+/response`, base.availability],
    subscribeOptional: [
      ...CHANNELS.filter(({ action, verb }) => action === 'send' && verb === undefined).map(
        ({ address }) => `${root}/${device}/${address.replace(/\{\w+\}/g, '+')}`,
      ),
    ],
  };
}
