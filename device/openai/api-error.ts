/** Refusals as clients of OpenAI and of Ollama read them. */
import { isSdkError, type Logger } from 'scenebus';
import { HttpError, refusalOf } from '../http/http-error.js';

/** A refusal that names the parameter at fault. */
export class ApiError extends HttpError {
  readonly param: string | undefined;

  constructor(statusCode: number, code: string, message: string, param?: string) {
    super(statusCode, code, message);
    this.param = param;
  }
}

/** What goes over the wire; `retryAfterSeconds` only with 429. */
export interface Refusal {
  readonly statusCode: number;
  readonly code: string;
  readonly message: string;
  readonly param?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
}

/** For a server that is full, before anything is known of how long its requests take. */
const DEFAULT_RETRY_MS = 1_000;

/** undefined: nobody foresaw it. */
export function refusalFor(error: unknown): Refusal | undefined {
  const known = refusalOf(error);
  if (known === undefined) return undefined;
  const { code, message } = known;
  // To these clients a picture or a bound of a request is a part of the request that is wrong.
  const statusCode = known.statusCode === 409 || code === 'ERR_IMAGE_INVALID' ? 400 : known.statusCode;
  const param = error instanceof ApiError ? error.param : undefined;
  if (statusCode !== 429) return { statusCode, code, message, param };
  const afterMs = isSdkError(error) ? Number(error.details.retryAfterMs ?? DEFAULT_RETRY_MS) : DEFAULT_RETRY_MS;
  return { statusCode, code, message, param, retryAfterSeconds: Math.max(1, Math.ceil(afterMs / 1_000)) };
}

/** For what nobody foresaw. */
const INTERNAL: Refusal = { statusCode: 500, code: 'ERR_INTERNAL', message: 'The server failed; see its log.' };

/** What a client is told; what nobody foresaw goes into the log. */
export function toldRefusal(error: unknown, logger: Logger): Refusal {
  const known = refusalFor(error);
  if (known !== undefined) return known;
  logger.log('error', 'a request to the API failed', { error });
  return INTERNAL;
}

/** https://platform.openai.com/docs/guides/error-codes */
export function openAiError({ statusCode, code, message, param }: Refusal) {
  const type = statusCode === 429 ? 'rate_limit_error' : statusCode >= 500 ? 'server_error' : 'invalid_request_error';
  return { error: { message, type, param: param ?? null, code } };
}

/** https://github.com/ollama/ollama/blob/main/docs/api.md: a sentence, nothing else. */
export function ollamaError({ message }: Refusal) {
  return { error: message };
}
