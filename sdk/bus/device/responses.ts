/** Answers and refusals as messages. */
import type { Clock } from '../../core/clock.js';
import { SdkError } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import type { AskRequest } from '../contract/schemas/index.js';
import type { OutboxMessage } from '../transport/outbox.js';
import { answerOf, type PayloadStamper, provenanceOf } from './payloads.js';
import type { Reply } from './request-server.js';
import type { AskResult } from './types.js';

/** One sequence for all answers: one per topic would let callers fill the memory with made-up topics. */
const RESPONSE_SEQUENCE = 'response';
/** An answer that waits for the broker longer than that has lost its asker. */
const ANSWER_LIFE_MS = 5 * 60_000;
/** After all states. */
const RANK = 9;

/** @throws SdkError ERR_ENGINE_FAILED when the handler's result breaks the contract: the asker gets that instead. */
export function responseMessage(stamper: PayloadStamper, reply: Reply, logger: Logger, clock: Clock): OutboxMessage {
  const { route, verb } = reply;
  const head = { verb, ...(route.transaction === undefined ? {} : { transaction: route.transaction }) };
  let value: unknown;
  try {
    value = stamper.make('response', RESPONSE_SEQUENCE, { ...head, ...bodyOf(reply) });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    logger.log('error', 'An answer does not fit its schema', { error: why });
    throw new SdkError(
      'ERR_ENGINE_FAILED',
      'The device made an answer that breaks the bus contract; its log has the details.',
    );
  }
  return {
    topic: route.topic,
    kind: 'event',
    rank: RANK,
    payload: JSON.stringify(value),
    value,
    expiresAtMs: clock.monotonicMs() + ANSWER_LIFE_MS,
    correlationData: route.correlationData,
  };
}

function bodyOf(reply: Reply): object {
  if ('error' in reply) {
    const { code, message, retryable } = reply.error;
    return { status: 'error', error: { code, message, retryable } };
  }
  // The verb's schema and handler type have made sure of both.
  const request = reply.request as AskRequest;
  const result = reply.result as AskResult;
  return {
    status: 'ok',
    ...provenanceOf(result, result.camera ?? request.camera),
    data: { question: request.question, ...answerOf(result), ...noticesOf(result) },
  };
}

function noticesOf({ notices }: AskResult): object {
  return notices === undefined || notices.length === 0 ? {} : { notices: [...notices] };
}
