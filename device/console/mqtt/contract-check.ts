/** Where a message misses the contract of the bus. */
import {
  busSchemas,
  CHANNELS,
  type Channel,
  parseTopic,
  SCHEMA_IDS,
  type SchemaName,
  topicMatches,
} from 'scenebus/bus';
import type { z } from 'zod';

/** One thing that is not as the schema says. */
export interface ContractMiss {
  /** Into the payload, such as `objects.0.box`; empty: the payload itself. */
  readonly path: string;
  readonly message: string;
}

export interface ContractCheck {
  /** `scenebus.scene/1`; null: the topic is none of the contract's. */
  readonly schema: string | null;
  readonly misses: readonly ContractMiss[];
}

const MAX_MISSES = 10;

/**
 * @param payload as it came, or the value that it spells
 * @param maxBytes of a payload as it came; nothing longer is read
 */
export function checkMessage(
  root: string,
  topic: string,
  payload: Uint8Array | object,
  maxBytes = Number.POSITIVE_INFINITY,
): ContractCheck {
  const read = payload instanceof Uint8Array ? decode(payload, maxBytes) : { value: payload as unknown };
  const name = channelOf(root, topic)?.payload ?? ('value' in read ? schemaOf(read.value) : undefined);
  if (name === undefined) return { schema: null, misses: [] };
  const schema = SCHEMA_IDS[name];
  // An empty retained payload takes a retained message away [MQTT-3.3.1-10].
  if (payload instanceof Uint8Array && payload.length === 0) return { schema, misses: [] };
  if ('problem' in read) return { schema, misses: [{ path: '', message: read.problem }] };
  const { success, error } = busSchemas[name].safeParse(read.value);
  return { schema, misses: success ? [] : missesOf(error.issues) };
}

/** The channel of the contract that a topic belongs to. */
export function channelOf(root: string, topic: string): Channel | undefined {
  const parsed = parseTopic(root, topic);
  if (parsed === undefined) return undefined;
  const rest = topic.slice(`${root}/${parsed.device}/`.length);
  return CHANNELS.find(({ address }) => topicMatches(address.replace(/\{\w+\}/g, '+'), rest));
}

function decode(payload: Uint8Array, maxBytes: number): { readonly value: unknown } | { readonly problem: string } {
  if (payload.length > maxBytes)
    return { problem: `Expected at most ${maxBytes} bytes, but received ${payload.length}` };
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(payload);
  } catch {
    return { problem: 'Expected JSON in UTF-8, but the bytes are not UTF-8' };
  }
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { problem: `Expected JSON (${error instanceof Error ? error.message.slice(0, 120) : 'unreadable'})` };
  }
}

/** Answers on topics that callers chose name their schema themselves. */
function schemaOf(value: unknown): SchemaName | undefined {
  if (typeof value !== 'object' || value === null || !('schema' in value)) return undefined;
  return (Object.keys(SCHEMA_IDS) as SchemaName[]).find((name) => SCHEMA_IDS[name] === value.schema);
}

function missesOf(issues: readonly z.core.$ZodIssue[], within: readonly PropertyKey[] = []): ContractMiss[] {
  return issues
    .flatMap((issue): ContractMiss[] => {
      const path = [...within, ...issue.path];
      // Of the alternatives the one that misses least is what was meant.
      if (issue.code === 'invalid_union' && issue.errors.length > 0) {
        const nearest = issue.errors.reduce((best, each) => (each.length < best.length ? each : best));
        return missesOf(nearest, path);
      }
      return [{ path: path.map(String).join('.').slice(0, 200), message: issue.message.slice(0, 300) }];
    })
    .slice(0, MAX_MISSES);
}
