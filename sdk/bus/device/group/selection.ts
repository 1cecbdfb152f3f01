/** Which member of a group takes a request: the same answer at every member, without asking anybody. */
import { createHash } from 'node:crypto';
import { decodeRequest } from '../../contract/decoding.js';
import type { IncomingMessage } from '../../transport/link.js';

/** What the members must agree on to choose one of them. */
export interface GroupRequest {
  /** Names the request; equal at every member. */
  readonly key: string;
  readonly attempt: number;
  /** How often a member has given it to the others. */
  readonly handedOn: number;
  /** Devices that have had their turn. */
  readonly exclude: readonly string[];
}

/** Reads that much of a request; what is wrong with the rest, the member that takes it says. */
export function readGroupRequest(message: IncomingMessage): GroupRequest {
  const { responseTopic, correlationData } = message.properties;
  const decoded = decodeRequest(message.payload);
  const body = decoded.ok && isRecord(decoded.value) ? decoded.value : {};
  const wish = isRecord(body.group) ? body.group : {};
  const { exclude } = wish;
  const hash = createHash('sha256').update(message.topic);
  // What is in the payload first: a bridge that speaks 3.1.1 takes the properties away, so that they are not equal at
  // every member. Without a mark of its own the payload is all that tells requests apart.
  if (typeof body.transaction === 'string') hash.update(`\n${body.transaction}\n${String(body.responseTopic ?? '')}`);
  else if (correlationData !== undefined) hash.update(correlationData).update(responseTopic ?? '');
  else hash.update(message.payload);
  return {
    key: hash.digest('base64url'),
    attempt: wish.attempt === 2 ? 2 : 1,
    handedOn: typeof wish.handedOn === 'number' ? wish.handedOn : 0,
    exclude: Array.isArray(exclude) ? exclude.filter((name) => typeof name === 'string') : [],
  };
}

/**
 * Members in the order in which they may take the request `key`: highest random weight first (Thaler and Ravishankar,
 * "Using name-based mappings to increase hit rates", 1998), so that requests are spread evenly and a member that comes
 * or goes moves only its own.
 */
export function rankMembers(key: string, ids: Iterable<string>): readonly string[] {
  return [...ids]
    .map((id) => ({ id, weight: createHash('sha256').update(`${key}\n${id}`).digest().readUIntBE(0, 6) }))
    .sort((a, b) => b.weight - a.weight || (a.id < b.id ? -1 : 1))
    .map(({ id }) => id);
}

/** Two devices with one name are two members. */
export function memberId({ device, run }: { readonly device: string; readonly run: string }): string {
  return `${device}/${run}`;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
