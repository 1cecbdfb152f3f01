import type { Terminal } from './terminal.js';

/** What the shell sees. */
export const EXIT_CODES = {
  ok: 0,
  /** The work failed, or `verify` and `doctor` found something wrong. */
  failed: 1,
  /** Wrong arguments or a wrong configuration, and for `run` whatever starting again cannot mend. */
  usage: 2,
  /** Ended by Ctrl-C before there was a result (128 + SIGINT). */
  interrupted: 130,
  /** Whoever read the output has gone, as `head` does (128 + SIGPIPE). */
  outputClosed: 141,
} as const;

const USAGE_ERRORS = new Set(['ERR_ARGUMENT_INVALID', 'ERR_CONFIG_INVALID']);

/** Prints `error ERR_CODE: message` and says with which code to exit. Never shows a stack: `SCENEBUS_DEBUG=1` does. */
export async function reportError(error: unknown, terminal: Terminal, environment = process.env): Promise<number> {
  if (isParserError(error)) {
    // Commander has printed its message; asking for help or the version is no error.
    return error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage;
  }
  if (isAbort(error)) {
    if (error instanceof OutputClosedError) return EXIT_CODES.outputClosed;
    terminal.note('interrupted');
    return EXIT_CODES.interrupted;
  }
  if (isLoadFailure(error)) {
    terminal.note(`error ERR_NATIVE_UNAVAILABLE: SceneBus is not installed completely: ${error.message}`);
    terminal.note('Run `npm run setup` in the SceneBus folder, or install the package again.');
    return EXIT_CODES.failed;
  }
  // Commands load what they run only when they run; one that fails before that has not loaded the SDK.
  const { isSdkError } = await import('scenebus');
  if (isSdkError(error)) terminal.note(`error ${error.code}: ${error.message}`);
  else terminal.note(`error ERR_UNEXPECTED: ${error instanceof Error ? error.message : String(error)}`);
  if (environment.SCENEBUS_DEBUG && error instanceof Error) terminal.note(error.stack ?? '');
  return isSdkError(error) && USAGE_ERRORS.has(error.code) ? EXIT_CODES.usage : EXIT_CODES.failed;
}

/** commander's CommanderError, told without loading commander: it may be what is missing. */
function isParserError(error: unknown): error is Error & { readonly exitCode: number } {
  return (
    error instanceof Error && 'exitCode' in error && 'code' in error && String(error.code).startsWith('commander.')
  );
}

function isAbort(error: unknown): error is Error {
  return error instanceof Error && error.name === 'AbortError';
}

/** A package is missing, or its binary is not for this machine. */
function isLoadFailure(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && LOAD_FAILURES.has(String(error.code));
}
const LOAD_FAILURES = new Set(['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND', 'ERR_DLOPEN_FAILED']);

/** The reason for aborting a command whose output nobody reads any more: it ends cleanly and silently. */
export class OutputClosedError extends Error {
  override readonly name = 'AbortError';
}
