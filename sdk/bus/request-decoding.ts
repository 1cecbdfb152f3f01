/** Bytes of a request to a value, and where its answer goes. Pure functions on untrusted input. */
import type { z } from 'zod';
import { LIMITS } from '../core/limits.js';
import type { IncomingMessage } from './link.js';
import { type BusTopics, isTopicSegment, responseTopicProblem } from './topics.js';

/** How an answer finds its question. */
export interface Route {
  readonly topic: string;
  /** MQTT 5: echoed byte for byte. */
  readonly correlationData: Buffer | undefined;
  /** JSON: echoed for 3.1.1. */
  readonly transaction: string | undefined;
}

const TRANSACTION_MAX_CHARACTERS = 128;
/** A correlation of any length is legal, but we hold it until the answer goes out. */
const CORRELATION_MAX_BYTES = 1024;
const PEEK_BYTES = 4096;
const ISSUES_SHOWN = 5;

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
    correlationData: correlation === undefined || isCorrelationTooLong ? undefined : Buffer.from(correlation),
    transaction:
      typeof transaction === 'string' && transaction.length <= TRANSACTION_MAX_CHARACTERS ? transaction : undefined,
  };
  const fallback = { ...base, topic: topics.response(isTopicSegment(verb) ? verb : 'unknown') };
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

export type Decoded = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly problem: string };

export function decodeRequest(payload: Uint8Array): Decoded {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(payload);
  } catch {
    return { ok: false, problem: 'Expected JSON in UTF-8, but the bytes are not UTF-8' };
  }
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch (error) {
    const why = error instanceof Error ? error.message.slice(0, 120) : 'unknown';
    return { ok: false, problem: `Expected JSON, but received something else (${why})` };
  }
}

/**
 * The transaction of a request that is too large to parse, so that a 3.1.1 caller can tell which one was refused.
 * Looks only at both ends; a transaction with escapes in it is not found.
 */
export function peekTransaction(payload: Buffer): string | undefined {
  const ends = [payload.subarray(0, PEEK_BYTES), payload.subarray(-PEEK_BYTES)];
  for (const end of ends) {
    const found = /"transaction"\s*:\s*"([^"\\]{1,128})"/.exec(end.toString('utf8'))?.[1];
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The first few problems of a payload in one line, paths included. */
export function describeIssues(error: z.ZodError): string {
  const lines = error.issues.slice(0, ISSUES_SHOWN).map((issue) => {
    const path = issue.path.map(String).join('.').slice(0, 120);
    return `${path === '' ? 'payload' : path}: ${issue.message.slice(0, 200)}`;
  });
  const more = error.issues.length - lines.length;
  return lines.join('; ') + (more > 0 ? `; and ${more} more` : '');
}
