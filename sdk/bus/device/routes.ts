/** Where the answer to a request goes. Pure functions on untrusted input. */
import { LIMITS } from '../../core/limits.js';
import { type BusTopics, isTopicSegment, responseTopicProblem } from '../contract/topics.js';
import type { IncomingMessage } from '../transport/link.js';

/** How an answer finds its question. */
export interface Route {
  readonly topic: string;
  /** MQTT 5: echoed byte for byte. */
  readonly correlationData: Uint8Array | undefined;
  /** JSON: echoed for 3.1.1. */
  readonly transaction: string | undefined;
  /** Of a request to a group. */
  readonly group?: GroupMark | undefined;
}

/** Marks the answers to a request of a group. */
export interface GroupMark {
  readonly name: string;
  /** 2: asked again, so another device may answer as well. */
  readonly attempt: number;
}

const TRANSACTION_MAX_CHARACTERS = 128;
/** A correlation of any length is legal, but we hold it until the answer goes out. */
const CORRELATION_MAX_BYTES = 1024;
const PEEK_BYTES = 4096;

/**
 * The caller's topic if it is allowed, else the default one with the problem named. The MQTT 5 property wins over the
 * field of the body.
 */
export function routeOf(
  message: IncomingMessage,
  verb: string,
  topics: BusTopics,
  allowed: readonly string[],
  body?: unknown,
): { readonly route: Route; readonly problem: string | undefined } {
  const fields = typeof body === 'object' && body !== null ? (body as Readonly<Record<string, unknown>>) : {};
  const { transaction } = fields;
  const correlation = message.properties.correlationData;
  const isCorrelationTooLong = correlation !== undefined && correlation.length > CORRELATION_MAX_BYTES;
  const base = {
    correlationData: isCorrelationTooLong ? undefined : correlation,
    transaction:
      typeof transaction === 'string' && transaction.length <= TRANSACTION_MAX_CHARACTERS ? transaction : undefined,
  };
  const fallback = { ...base, topic: topics.response(verb.split('/').every(isTopicSegment) ? verb : 'unknown') };
  if (isCorrelationTooLong) {
    return { route: fallback, problem: `its correlation data is over ${CORRELATION_MAX_BYTES} bytes` };
  }
  const wanted =
    message.properties.responseTopic ?? (typeof fields.responseTopic === 'string' ? fields.responseTopic : undefined);
  if (wanted === undefined || wanted === fallback.topic) return { route: fallback, problem: undefined };
  const problem =
    Buffer.byteLength(wanted) > LIMITS.busTopicBytes
      ? `it is longer than ${LIMITS.busTopicBytes} bytes`
      : responseTopicProblem(wanted, topics.root, allowed);
  return problem === undefined ? { route: { ...base, topic: wanted }, problem } : { route: fallback, problem };
}

/**
 * The transaction of a request that is too large to parse, so that a 3.1.1 caller can tell which one was refused.
 * Looks only at both ends; a transaction with escapes in it is not found.
 */
export function peekTransaction(payload: Uint8Array): string | undefined {
  const ends = [payload.subarray(0, PEEK_BYTES), payload.subarray(-PEEK_BYTES)];
  for (const end of ends) {
    const found = /"transaction"\s*:\s*"([^"\\]{1,128})"/.exec(new TextDecoder().decode(end))?.[1];
    if (found !== undefined) return found;
  }
  return undefined;
}
