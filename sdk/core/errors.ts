import { redact, redactDeep } from './redaction.js';

/**
 * Every error that SceneBus raises on purpose, in one table. A code is never reused for another meaning.
 * `retryable` says whether the same call can succeed later without a change by the caller.
 * The addons set the same names as the `code` of what they throw; one that is not in the table becomes ERR_INTERNAL.
 */
export const ERROR_CODES = {
  ERR_ARGUMENT_INVALID: { retryable: false },
  ERR_CONFIG_INVALID: { retryable: false },
  ERR_DISPOSED: { retryable: false },
  ERR_NATIVE_UNAVAILABLE: { retryable: false },
  ERR_LIMIT_EXCEEDED: { retryable: false },
  ERR_DISK_FULL: { retryable: true },
  ERR_JOURNAL_UNAVAILABLE: { retryable: true },
  /** Another service uses the journal. */
  ERR_JOURNAL_LOCKED: { retryable: true },
  /** What nobody foresaw; the cause is kept. A fault of SceneBus, so that trying again will hardly help. */
  ERR_INTERNAL: { retryable: false },

  ERR_CAPTURE_ADDRESS_INVALID: { retryable: false },
  ERR_CAPTURE_NOT_FOUND: { retryable: true },
  ERR_CAPTURE_REFUSED: { retryable: true },
  ERR_CAPTURE_UNSUPPORTED: { retryable: false },
  ERR_CAPTURE_TIMEOUT: { retryable: true },
  ERR_CAPTURE_ENDED: { retryable: false },
  ERR_CAPTURE_LOST: { retryable: true },
  ERR_CAPTURE_STALLED: { retryable: true },
  ERR_CAPTURE_HOST_DIED: { retryable: true },

  /** The pictures do not determine a lens: too few, alike, blurred, of several sizes. `details.reason` says which. */
  ERR_CALIBRATION_FAILED: { retryable: false },

  ERR_IMAGE_INVALID: { retryable: false },
  ERR_IMAGE_TOO_LARGE: { retryable: false },

  ERR_MODEL_NOT_FOUND: { retryable: false },
  ERR_MODEL_INVALID: { retryable: false },
  ERR_MODEL_UNSUPPORTED: { retryable: false },
  ERR_TOKENIZER_INVALID: { retryable: false },
  ERR_PROMPT_INVALID: { retryable: false },
  ERR_CONTEXT_OVERFLOW: { retryable: false },
  ERR_ENGINE_FAILED: { retryable: true },
  ERR_ENGINE_DIED: { retryable: true },
  ERR_ENGINE_INCOMPATIBLE: { retryable: false },
  ERR_ENGINE_OUT_OF_MEMORY: { retryable: true },
  ERR_PREPARE_LOCKED: { retryable: true },
  ERR_LICENSE_NOT_ACCEPTED: { retryable: false },

  /** The server of a remote model cannot be reached, breaks off, or is left alone for a while (`details.circuit`). */
  ERR_REMOTE_UNREACHABLE: { retryable: true },
  /** It answers that it failed. */
  ERR_REMOTE_FAILED: { retryable: true },
  /** It refuses: the key, the request, another name of the model. */
  ERR_REMOTE_REJECTED: { retryable: false },
  /** What it answers is not this API. */
  ERR_REMOTE_INVALID: { retryable: false },

  ERR_SCHEMA_INVALID: { retryable: false },
  ERR_SCHEMA_UNSUPPORTED: { retryable: false },
  ERR_SCHEMA_UNSATISFIABLE: { retryable: false },
  ERR_ANSWER_INCOMPLETE: { retryable: true },
  ERR_ANSWER_INVALID: { retryable: true },

  ERR_BUS_UNREACHABLE: { retryable: true },
  ERR_BUS_REJECTED: { retryable: false },
  ERR_BUS_TIMEOUT: { retryable: true },
  ERR_BUS_PORT_IN_USE: { retryable: true },
  ERR_REQUEST_INVALID: { retryable: false },
  ERR_REQUEST_TOO_LARGE: { retryable: false },
  ERR_REQUEST_UNSUPPORTED: { retryable: false },
  ERR_REQUEST_EXPIRED: { retryable: false },
  ERR_BUSY: { retryable: true },
} as const satisfies Record<string, { readonly retryable: boolean }>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface SdkErrorOptions {
  readonly cause?: unknown;
  /** Machine-readable facts: what was expected, what came. Never a secret. */
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * The one error class. The message says what was expected, what came and what to do next; callers decide on `code`.
 * Registered secrets are taken out of message and details.
 *
 * @example
 * try { await loadModel(path) } catch (e) { if (isSdkError(e, 'ERR_MODEL_NOT_FOUND')) … }
 */
export class SdkError extends Error {
  override readonly name = 'SdkError';
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: SdkErrorOptions = {}) {
    super(redact(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = Object.freeze(redactDeep({ ...options.details }) as Record<string, unknown>);
  }

  /** Whether the same call can succeed later without a change by the caller. */
  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }
}

export function isSdkError(value: unknown, code?: ErrorCode): value is SdkError {
  return value instanceof SdkError && (code === undefined || value.code === code);
}

/** The error itself when it is one of ours; else ERR_INTERNAL, with what was thrown as the cause. */
export function toSdkError(error: unknown): SdkError {
  if (error instanceof SdkError) return error;
  const reason = messageOf(error);
  return new SdkError('ERR_INTERNAL', `Unexpected internal error: ${reason}`, { cause: error });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Form in which an error crosses a process, worker or bus border. */
export interface SerializedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
  /** Message of what caused it; stacks and objects stay where they are. */
  readonly cause?: string | undefined;
}

/** Unknown errors become `fallback`, so that a receiver always has a code from the table. */
export function serializeError(error: unknown, fallback: ErrorCode = 'ERR_INTERNAL'): SerializedError {
  if (!(error instanceof SdkError)) {
    return { code: fallback, message: redact(messageOf(error)) };
  }
  const { code, message, details, cause } = error;
  if (cause === undefined) return { code, message, details };
  return { code, message, details, cause: redact(messageOf(cause)) };
}

/** The error that `serializeError` wrote down; its cause is an `Error` with the message of the original. */
export function deserializeError({ code, message, details, cause }: SerializedError): SdkError {
  return new SdkError(code, message, { details, cause: cause === undefined ? undefined : new Error(cause) });
}
