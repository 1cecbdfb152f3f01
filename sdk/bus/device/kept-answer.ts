/** Answers that somebody else keeps until they are delivered. */
import { systemClock } from '../../core/clock.js';
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
  /**
   * The same by the machine's monotonic clock, milliseconds: the run that made the answer goes by it, so that a wall
   * clock that is set loses nothing. Left out: there is none, or the answer is of an older version.
   */
  readonly expiresAtMonotonicMs?: number | undefined;
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
    ...(expiresAtMs === undefined
      ? { expiresAtMs: Number.MAX_SAFE_INTEGER }
      : {
          expiresAtMs: Math.round(Date.now() + expiresAtMs - performance.now()),
          expiresAtMonotonicMs: systemClock.monotonicMs() + expiresAtMs - performance.now(),
        }),
  };
}

/** After all states. */
const RANK = 9;

/**
 * The message of an answer that was kept; `isRepeated` marks it as one that may have arrived before.
 * @param run of the device now
 */
export function messageOf(answer: KeptAnswer, isRepeated: boolean, run: string): OutboxMessage {
  return {
    topic: answer.topic,
    kind: 'event',
    rank: RANK,
    payload: JSON.stringify(answer.payload),
    value: answer.payload,
    expiresAtMs: performance.now() + lifeMs(answer, run),
    correlationData: answer.correlationData === null ? undefined : Buffer.from(answer.correlationData, 'base64'),
    isUnkept: true,
    isRepeated,
  };
}

/** Of an earlier run only the calendar says it: the machine may have been started anew since. */
function lifeMs({ payload, expiresAtMs, expiresAtMonotonicMs }: KeptAnswer, run: string): number {
  if (expiresAtMonotonicMs === undefined || payload.run !== run) return expiresAtMs - Date.now();
  return expiresAtMonotonicMs - systemClock.monotonicMs();
}
