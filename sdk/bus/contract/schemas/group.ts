/** What the members of a group say to each other, and what a request to a group may say. */
import { z } from 'zod';
import { envelope, SCHEMA_IDS, topicSegmentSchema } from './common.js';

const group = topicSegmentSchema.meta({ title: 'Group', description: 'Name of the group' });
const nonce = z.string().min(1).max(64).meta({ title: 'Nonce', description: 'Names one probe' });
/** Devices that a request to a group can leave out: more than that have had their turn. */
const EXCLUDED_MAX = 8;
/** A request that so many members have handed on is answered, if only with ERR_BUSY. */
export const GROUP_HANDED_ON_MAX = 3;

/** How requests reach the members of a group. */
export const GROUP_DELIVERIES = ['shared', 'members'] as const;
export type GroupDelivery = (typeof GROUP_DELIVERIES)[number];

/** A device in a group. Retained; empty when it has left, `away` with the reason `lost` is its will. */
export const groupMemberSchema = z
  .strictObject({
    ...envelope(SCHEMA_IDS.groupMember),
    group,
    state: z.enum(['ready', 'busy', 'away']).meta({
      title: 'State',
      description:
        'busy: takes requests of the group only while no member is ready; away: takes none, because it is degraded, starting or lost',
    }),
    reason: z.string().optional().meta({ title: 'Reason', description: 'Why it is away' }),
    delivery: z.enum(GROUP_DELIVERIES).meta({
      title: 'Delivery',
      description:
        'shared: this device saw the broker give a message to exactly one member; members: it did not, so the members agree by claims. One member that says members makes the whole group do so',
    }),
  })
  .meta({ title: 'Member of a group', description: 'Retained' });
/** Payload of `group/<group>/member/<device>`. */
export type GroupMember = z.infer<typeof groupMemberSchema>;

/** Asks every member to publish its state again: for brokers that give no retained messages to wildcards. */
export const groupCallSchema = z
  .strictObject({ schema: z.literal(SCHEMA_IDS.groupCall) })
  .meta({ title: 'Roll call', description: 'Members answer with their state within a second. Not retained' });
/** Payload of `group/<group>/call`. */
export type GroupCall = z.infer<typeof groupCallSchema>;

/** A member takes a request that all members have got. */
export const groupClaimSchema = z
  .strictObject({
    ...envelope(SCHEMA_IDS.groupClaim),
    group,
    key: z.string().min(1).max(256).meta({
      title: 'Key',
      description: 'Names the request: SHA-256 of its response topic, transaction and correlation data',
    }),
  })
  .meta({ title: 'Claim', description: 'Not retained. The member that is first by SHA-256 of key and name keeps it' });
/** Payload of `group/<group>/claim`. */
export type GroupClaim = z.infer<typeof groupClaimSchema>;

/** Goes out to find who gets it. */
export const groupProbeSchema = z
  .strictObject({ ...envelope(SCHEMA_IDS.groupProbe), group, nonce })
  .meta({ title: 'Probe', description: 'Members subscribe to it as one; whoever gets it says so. Not retained' });
/** Payload of `group/<group>/probe`. */
export type GroupProbe = z.infer<typeof groupProbeSchema>;

/** A member got a probe. */
export const groupHeardSchema = z
  .strictObject({ ...envelope(SCHEMA_IDS.groupHeard), group, nonce })
  .meta({ title: 'Probe heard', description: 'Not retained' });
/** Payload of `group/<group>/heard`. */
export type GroupHeard = z.infer<typeof groupHeardSchema>;

/** In requests to a group. */
export const groupField = {
  group: z
    .strictObject({
      attempt: z.int().min(1).max(2).optional().meta({
        title: 'Attempt',
        description:
          '1 or 2: whoever takes the request says so at once with an `accepted` response. 2: it was asked before, and an answer to that may come as well',
      }),
      handedOn: z.int().min(0).max(GROUP_HANDED_ON_MAX).optional().meta({
        title: 'Handed on',
        description: 'How often a member has given the request to the others; callers leave it out',
      }),
      exclude: z
        .array(topicSegmentSchema)
        .max(EXCLUDED_MAX)
        .optional()
        .meta({ title: 'Not these', description: 'Devices that have had their turn' }),
    })
    .optional()
    .meta({
      title: 'Group',
      description: 'Only in requests to a group; refused in requests to one device',
    }),
};

/** In answers to requests of a group. */
export const groupAnswerField = {
  group: z
    .strictObject({ name: group, attempt: z.int().min(1).max(2).meta({ title: 'Attempt' }) })
    .optional()
    .meta({
      title: 'Group',
      description:
        'The request was to a group. attempt 2: asked again, so an answer of another device may come as well',
    }),
};
