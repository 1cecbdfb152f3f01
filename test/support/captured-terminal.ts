import { createTerminal, type Terminal } from '#device/cli/terminal.js';

export interface CapturedTerminal extends Terminal {
  readonly output: () => string;
  readonly errors: () => string;
}

/** A terminal that keeps what it is told. */
export function captureTerminal(options: { isTTY?: boolean } = {}): CapturedTerminal {
  const written = { out: '', err: '' };
  const terminal = createTerminal(
    { write: (text) => (written.out += text), isTTY: options.isTTY },
    { write: (text) => (written.err += text), isTTY: options.isTTY },
    {},
  );
  return { ...terminal, output: () => written.out, errors: () => written.err };
}
