/** Answers that somebody else keeps until they are delivered. */
import type { Response } from '../contract/schemas/index.js';
import type { OutboxMessage } from '../transport/outbox.js';

/** An answer to a caller: plain data, which can be kept in a file and sent later, by another run of the device too. */
export interface KeptAnswer {
  readonly topic: string;
  /** As it goes out; `run` and `seq` stay the same however often it is sent. */
  readonly payload: Response;
  /** MQTT 5: what the caller wants back, in Base64. */
  readonly correlationData: string | null;
  /** Unix time, milliseconds, after which nobody waits for it. */
  readonly expiresAtMs: number;
}

/**
 * Takes an answer over from the bus: whoever returns true sends it with `sendAnswer` when it is kept. False: the bus
 * sends it by itself. Gets the answers and failures of accepted requests; refusals and pieces never.
 * @param request as the handler got it
 */
export type AnswerKeeper = (answer: KeptAnswer, request: object) => boolean;

/** What is kept of an answer that waits for its delivery, as plain JSON: `expiresAtMs` in Unix milliseconds. */
export function keptAnswerOf(message: OutboxMessage): KeptAnswer {
  const { topic, value, correlationData, expiresAtMs } = message;
  return {
    topic,
    payload: value as Response,
    correlationData: correlationData === undefined ? null : Buffer.from(correlationData).toString('base64'),
    // The outbox counts by a clock that starts with the process, which means nothing to another run.
    expiresAtMs:
      expiresAtMs === undefined ? Number.MAX_SAFE_INTEGER : Math.round(Date.now() + expiresAtMs - performance.now()),
  };
}

/** After all states. */
const RANK = 9;

/** The message of an answer that an earlier run kept; `isRepeated` marks it as one that may have arrived before. */
export function messageOf(answer: KeptAnswer, isRepeated: boolean): OutboxMessage {
  return {
    topic: answer.topic,
    kind: 'event',
    rank: RANK,
    payload: JSON.stringify(answer.payload),
    value: answer.payload,
    expiresAtMs: performance.now() + answer.expiresAtMs - Date.now(),
    correlationData: answer.correlationData === null ? undefined : Buffer.from(answer.correlationData, 'base64'),
    isUnkept: true,
    isRepeated,
  };
}
