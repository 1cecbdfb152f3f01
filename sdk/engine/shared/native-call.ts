/** Calls of the addons: an abort flag in, errors with codes of the SDK out. */
import { ERROR_CODES, type ErrorCode, SdkError } from '../../core/errors.js';

/**
 * Runs a native call with a flag that any of the signals sets. Rejects with that signal's reason, else with an SdkError;
 * settles when the native side has. (`AbortSignal.any` would keep something of every call alive as long as the engine.)
 */
export async function abortable<T>(
  signals: readonly (AbortSignal | undefined)[],
  call: (flag: Int32Array) => Promise<T>,
): Promise<T> {
  const throwIfAborted = () => {
    for (const signal of signals) signal?.throwIfAborted();
  };
  throwIfAborted();
  const flag = new Int32Array(1);
  const stop = () => {
    flag[0] = 1;
  };
  for (const signal of signals) signal?.addEventListener('abort', stop, { once: true });
  try {
    return await call(flag);
  } catch (error) {
    throwIfAborted();
    throw toSdkError(error);
  } finally {
    for (const signal of signals) signal?.removeEventListener('abort', stop);
  }
}

/**
 * Errors of an addon carry `code`. Those without one, or with one that nobody knows, were foreseen by nobody: they become
 * ERR_INTERNAL, whose cause they are.
 */
export function toSdkError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof SdkError) return error;
  const code = (error as { code?: unknown }).code;
  return new SdkError(isErrorCode(code) ? code : 'ERR_INTERNAL', sentence(error.message), { cause: error });
}

/** Whether the addon and this SDK agree on what the code means. */
export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERROR_CODES, code);
}

function sentence(text: string): string {
  const message = text.trim();
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}${message.endsWith('.') ? '' : '.'}`;
}
