import type { Terminal } from './terminal.js';

/** What every command is given besides its own arguments. */
export interface CommandContext {
  readonly terminal: Terminal;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** undefined: a terminal, where nobody pipes a picture in. */
  readonly stdin?: AsyncIterable<Uint8Array> | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Calls the handler when the configuration is to be read again (SIGHUP). Returns a function that ends it. */
  onReload(handler: () => void): () => void;
  /** A command whose work is done but whose verdict is bad (`verify`, `doctor`) sets this. */
  setExitCode(code: number): void;
}

/** Text under a command's options: what a reader can copy. */
export function examples(...lines: readonly string[]): string {
  return `\n${lines.length === 1 ? 'Example' : 'Examples'}:\n${lines.map((line) => `  $ ${line}`).join('\n')}\n`;
}
