/** The devices at a broker, as they have said it themselves. */
import type { z } from 'zod';
import { readPayload } from '../contract/decoding.js';
import {
  type Availability,
  busSchemas,
  type GroupMember,
  type Health,
  type Info,
  SCHEMA_IDS,
} from '../contract/schemas/index.js';
import { GROUP_LEVEL } from '../contract/topic-levels.js';
import { rollCallTopic } from '../contract/topics.js';
import type { Link } from '../transport/link.js';
import { sleep } from '../transport/sleep.js';
import type { Subscriptions } from './subscriptions.js';

/** A device, as far as it has said something within the time. */
export interface FleetDevice {
  readonly device: string;
  /** undefined: nothing is known, for example because this account may not read it. */
  readonly state: Availability['state'] | undefined;
  readonly info: Info | undefined;
  readonly health: Health | undefined;
  /** Its groups, and how it stands in them. */
  readonly groups: readonly GroupMember[];
}

export interface FleetOptions {
  /** How long devices have to answer. Default 2 000; a large fleet at a slow broker needs more. */
  readonly waitMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const DEFAULT_WAIT_MS = 2_000;
/** Names are made up by whoever may publish. */
const MAX_DEVICES = 100_000;

interface Entry {
  availability?: Availability;
  info?: Info;
  health?: Health;
  readonly groups: Map<string, GroupMember>;
}

/**
 * Listens to what is retained, and asks all devices to say it again: RabbitMQ gives no retained messages to wildcards.
 * @throws SdkError ERR_BUS_REJECTED where the account may not read `<root>/+/availability`; `signal.reason`
 */
export async function listFleet(
  { root, subscriptions, link }: { readonly root: string; readonly subscriptions: Subscriptions; readonly link: Link },
  { waitMs = DEFAULT_WAIT_MS, signal }: FleetOptions = {},
): Promise<readonly FleetDevice[]> {
  const entries = new Map<string, Entry>();
  const entryOf = (device: string): Entry | undefined => {
    const known = entries.get(device);
    if (known !== undefined || entries.size >= MAX_DEVICES) return known;
    const entry: Entry = { groups: new Map() };
    entries.set(device, entry);
    return entry;
  };
  const reader =
    <T extends { readonly device: string }>(schema: z.ZodType<T>, take: (entry: Entry, payload: T) => void) =>
    (topic: string, value: unknown): void => {
      const parsed = readPayload(schema, value);
      // The topic says who it is of; a payload that says otherwise is forged.
      if (!parsed.success || !topic.split('/').includes(parsed.data.device)) return;
      const entry = entryOf(parsed.data.device);
      if (entry !== undefined) take(entry, parsed.data);
    };
  const wanted = [
    {
      rest: '+/availability',
      receive: reader(busSchemas.availability, (entry, payload) => (entry.availability = payload)),
    },
    { rest: '+/info', receive: reader(busSchemas.info, (entry, payload) => (entry.info = payload)) },
    { rest: '+/health', receive: reader(busSchemas.health, (entry, payload) => (entry.health = payload)) },
    {
      rest: `${GROUP_LEVEL}/+/member/+`,
      receive: reader(busSchemas.groupMember, (entry, payload) => entry.groups.set(payload.group, payload)),
    },
  ].map(({ rest, receive }) => ({ filter: `${root}/${rest}`, receive }));
  try {
    for (const subscription of wanted) await subscriptions.add(subscription, link);
    const spreadMs = Math.round(waitMs / 2);
    await link.publish(rollCallTopic(root), JSON.stringify({ schema: SCHEMA_IDS.rollCall, spreadMs }), {
      retain: false,
    });
    await sleep(waitMs, { signal });
    signal?.throwIfAborted();
  } finally {
    for (const subscription of wanted) await subscriptions.remove(subscription, link);
  }
  return [...entries]
    .map(([device, { availability, info, health, groups }]) => ({
      device,
      state: availability?.state,
      info,
      health,
      groups: [...groups.values()].sort((a, b) => (a.group < b.group ? -1 : 1)),
    }))
    .sort((a, b) => (a.device < b.device ? -1 : 1));
}
