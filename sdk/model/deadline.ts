import { SdkError } from '../core/errors.js';

/** Ends work whose answer is worth nothing any more, with ERR_REQUEST_EXPIRED. The caller clears the timer. */
export function expireAfter(
  deadlineMs: number | undefined,
  abort: { abort(reason: unknown): void },
): NodeJS.Timeout | undefined {
  if (deadlineMs === undefined) return undefined;
  return setTimeout(() => {
    const message = `Expected an answer within ${deadlineMs} ms, the deadline of the request, but there was none.`;
    abort.abort(new SdkError('ERR_REQUEST_EXPIRED', message, { details: { deadlineMs } }));
  }, deadlineMs);
}
