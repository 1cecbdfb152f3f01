/** Errors of the addons, with codes of the SDK. */
import { ERROR_CODES, type ErrorCode, SdkError } from '../../core/errors.js';

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
