/** What goes wrong on the way to a remote model, as errors that callers can decide on. */
import { isSdkError, SdkError } from '../../core/errors.js';

/** No longer than this is waited for a server that says when to come back. */
export const LONGEST_RETRY_AFTER_MS = 60_000;
/** Of a server's own words: it may be anybody's. */
const QUOTED_CHARACTERS = 500;

/** Nothing came, or what came broke off. */
export function unreachable(where: string, why: string, cause?: unknown, details: object = {}): SdkError {
  return new SdkError('ERR_REMOTE_UNREACHABLE', `The remote model at ${where} cannot be reached: ${why}.`, {
    cause,
    details: { ...details },
  });
}

/** Something came that is not what this API answers. */
export function invalidAnswer(where: string, problem: string): SdkError {
  return new SdkError(
    'ERR_REMOTE_INVALID',
    `Expected the answer of an OpenAI-compatible server at ${where}, but ${problem}. Is the address that of its API (…/v1)?`,
  );
}

/** What a status other than 200 means. @param body as far as it was read */
export function refusalOf(
  where: string,
  { status, body, retryAfter, location }: { status: number; body: string; retryAfter?: string; location?: string },
): SdkError {
  const said = wordsOf(body);
  const details = { status };
  if (status >= 300 && status < 400) {
    const to = location === undefined ? 'elsewhere' : quoted(location);
    const message = `Expected an answer from ${where} but it sends its clients to ${to}. Give that address itself, if it is the right one: a key and pictures are not sent where nobody said.`;
    return new SdkError('ERR_REMOTE_REJECTED', message, { details });
  }
  if (status === 429 || status === 503) {
    const retryAfterMs = retryAfterMsOf(retryAfter);
    const code = status === 429 ? 'ERR_BUSY' : 'ERR_REMOTE_FAILED';
    const what = status === 429 ? 'has too much to do' : 'does not serve now';
    return new SdkError(code, `The server at ${where} ${what} (${status})${said}.`, {
      details: { ...details, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
    });
  }
  if (status === 408 || status === 425 || status >= 500)
    return new SdkError('ERR_REMOTE_FAILED', `The server at ${where} failed (${status})${said}.`, { details });
  const advice =
    status === 401 || status === 403
      ? ' Check the key (keyFile, keyVariable).'
      : status === 404
        ? ' Check the address and the name of the model.'
        : '';
  return new SdkError(
    'ERR_REMOTE_REJECTED',
    `The server at ${where} refuses the request (${status})${said}.${advice}`,
    {
      details,
    },
  );
}

/** An error in the middle of a stream, when the status has gone out already. */
export function failedMidway(where: string, { message, code }: { message: string; code?: unknown }): SdkError {
  return new SdkError('ERR_REMOTE_FAILED', `The server at ${where} failed while it answered: ${quoted(message)}.`, {
    details: { code: code === undefined || code === null ? undefined : quoted(String(code)) },
  });
}

/** Whether the same request may well succeed in a moment. */
export function isPassing(error: unknown): error is SdkError {
  if (!isSdkError(error) || error.details.circuit === 'open') return false;
  return error.code === 'ERR_BUSY' || error.code === 'ERR_REMOTE_UNREACHABLE' || error.code === 'ERR_REMOTE_FAILED';
}

/** Whether it says that the server is unwell; one that has much to do, or refuses a request, is not. */
export function isUnwell(error: unknown): boolean {
  if (isSdkError(error, 'ERR_REMOTE_UNREACHABLE')) return error.details.circuit !== 'open';
  return isSdkError(error, 'ERR_REMOTE_FAILED') || isSdkError(error, 'ERR_REMOTE_INVALID');
}

/** Seconds, or a date. https://www.rfc-editor.org/rfc/rfc9110#field.retry-after */
export function retryAfterMsOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1_000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

function wordsOf(body: string): string {
  try {
    const { error, message, detail } = JSON.parse(body) as Record<string, unknown>;
    const said = typeof error === 'object' && error !== null ? (error as { message?: unknown }).message : error;
    const words = [said, message, detail].find((each) => typeof each === 'string');
    return words === undefined ? '' : `: ${quoted(words as string)}`;
  } catch {
    return '';
  }
}

function quoted(text: string): string {
  const line = text.replaceAll(/\p{Cc}+/gu, ' ').trim();
  const cut = line.length > QUOTED_CHARACTERS ? `${line.slice(0, QUOTED_CHARACTERS)}…` : line;
  return cut.replace(/\.$/, '');
}
