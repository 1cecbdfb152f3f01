import { isSdkError } from 'scenebus';

/** An answer that is a refusal. */
export class HttpError extends Error {
  readonly statusCode: number;
  readonly code: string;

  constructor(statusCode: number, code: string, message: string) {
    super(message);
    this.statusCode = statusCode;
    this.code = code;
  }
}

const STATUS_BY_CODE: readonly (readonly [pattern: RegExp, status: number])[] = [
  [/^ERR_IMAGE_TOO_LARGE$/, 413],
  [/^ERR_IMAGE_/, 415],
  [/^ERR_(REQUEST_EXPIRED|CAPTURE_TIMEOUT)$/, 504],
  [/^ERR_LIMIT_EXCEEDED$/, 409],
  [/^ERR_(ANSWER|CALIBRATION)_/, 422],
  [/^ERR_(REQUEST|ARGUMENT|PROMPT|CONTEXT|SCHEMA)_/, 400],
  [/^ERR_CONFIG_/, 409],
  [/^ERR_BUSY$/, 429],
  [/^ERR_REMOTE_/, 502],
  [/^ERR_(CAPTURE|ENGINE|BUS|JOURNAL|DISK|DISPOSED|NATIVE)/, 503],
];

/** Status, code and words for whatever was thrown. undefined: nobody foresaw it. */
export function refusalOf(error: unknown): HttpError | undefined {
  if (error instanceof HttpError) return error;
  if (isSdkError(error)) {
    const status = STATUS_BY_CODE.find(([pattern]) => pattern.test(error.code))?.[1];
    return status === undefined ? undefined : new HttpError(status, error.code, error.message);
  }
  // Fastify's own: a body that is too large, a content type that is not known, too many requests …
  const { statusCode, code, message } = error as { statusCode?: unknown; code?: unknown; message?: unknown };
  if (typeof statusCode !== 'number' || statusCode < 400 || statusCode > 499) return undefined;
  return new HttpError(statusCode, typeof code === 'string' ? code : 'REQUEST_INVALID', String(message));
}
