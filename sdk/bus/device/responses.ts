/** Answers and refusals as messages. */
import { SdkError } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import type { OutboxMessage } from '../transport/outbox.js';
import type { PayloadStamper } from './payloads.js';
import type { Reply } from './request-server.js';

/** One sequence for all answers: one per topic would let callers fill the memory with made-up topics. */
const RESPONSE_SEQUENCE = 'response';
/** An answer that waits for the broker longer than that has lost its asker. */
const ANSWER_LIFE_MS = 5 * 60_000;
/** After all states. */
const RANK = 9;

/** @throws SdkError ERR_INTERNAL when the handler's result breaks the contract: the asker gets that instead. */
export function responseMessage(stamper: PayloadStamper, reply: Reply, logger: Logger): OutboxMessage {
  const { route, verb } = reply;
  const head = {
    verb,
    ...(route.transaction === undefined ? {} : { transaction: route.transaction }),
    ...(route.group === undefined ? {} : { group: route.group }),
  };
  let value: unknown;
  try {
    value = stamper.make('response', RESPONSE_SEQUENCE, { ...head, ...bodyOf(reply) });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    logger.log('error', 'An answer does not fit its schema', { verb, error: why });
    throw new SdkError(
      'ERR_INTERNAL',
      'The device made an answer that breaks the bus contract; its log has the details.',
    );
  }
  return {
    topic: route.topic,
    kind: 'event',
    rank: RANK,
    payload: JSON.stringify(value),
    value,
    expiresAtMs: performance.now() + ANSWER_LIFE_MS,
    // Refusals and pieces are a courtesy: a flood of bad requests must not push answers out.
    isExpendable: !('fields' in reply),
    correlationData: route.correlationData,
  };
}

function bodyOf(reply: Reply): object {
  if ('fields' in reply) return { status: 'ok', ...reply.fields };
  if ('accepted' in reply) return { status: 'accepted' };
  if ('partial' in reply) return { status: 'partial', data: reply.partial };
  const { code, message, retryable, details } = reply.error;
  const { retryAfterMs } = details;
  const hint = code === 'ERR_BUSY' && typeof retryAfterMs === 'number' ? { retryAfterMs: Math.ceil(retryAfterMs) } : {};
  return { status: 'error', error: { code, message, retryable, ...hint } };
}
