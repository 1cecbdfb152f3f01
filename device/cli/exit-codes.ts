import { CommanderError } from 'commander';
import { isSdkError } from 'scenebus';
import type { Terminal } from './terminal.js';

/** What the shell sees. */
export const EXIT_CODES = {
  ok: 0,
  /** The work failed, or `verify` and `doctor` found something wrong. */
  failed: 1,
  /** Wrong arguments or a wrong configuration: the same call can never work. */
  usage: 2,
  /** Ended by Ctrl-C before there was a result (128 + SIGINT). */
  interrupted: 130,
} as const;

const USAGE_ERRORS = new Set(['ERR_ARGUMENT_INVALID', 'ERR_CONFIG_INVALID']);

/** Prints `error ERR_CODE: message` and says with which code to exit. Never shows a stack: `SCENEBUS_DEBUG=1` does. */
export function reportError(error: unknown, terminal: Terminal, environment = process.env): number {
  if (error instanceof CommanderError) {
    // Commander has printed its message; asking for help or the version is no error.
    return error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage;
  }
  if (isAbort(error)) {
    terminal.note('interrupted');
    return EXIT_CODES.interrupted;
  }
  if (isSdkError(error)) terminal.note(`error ${error.code}: ${error.message}`);
  else terminal.note(`error ERR_UNEXPECTED: ${error instanceof Error ? error.message : String(error)}`);
  if (environment.SCENEBUS_DEBUG && error instanceof Error) terminal.note(error.stack ?? '');
  return isSdkError(error) && USAGE_ERRORS.has(error.code) ? EXIT_CODES.usage : EXIT_CODES.failed;
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}
