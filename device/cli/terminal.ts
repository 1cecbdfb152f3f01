/** Where a command writes: results on stdout, everything about the way there on stderr. Injected, so tests can read. */
import { createInterface } from 'node:readline/promises';

export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export interface Terminal {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** One line of the result. */
  out(line?: string): void;
  /** One line about the way to it. */
  note(line: string): void;
  /** Asks a person for a line; undefined where nobody can answer. */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
  /** Colours for stdout; plain text where it is not a terminal or NO_COLOR is set (https://no-color.org). */
  readonly paint: Painter;
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'blue' | 'magenta' | 'cyan';
export type Painter = (style: Style, text: string) => string;

// Select Graphic Rendition parameters, ECMA-48 §8.3.117.
const SGR: Readonly<Record<Style, number>> = {
  bold: 1,
  dim: 2,
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
};

export function createTerminal(
  stdout: OutputStream = process.stdout,
  stderr: OutputStream = process.stderr,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Terminal {
  const coloured = stdout.isTTY === true && !environment.NO_COLOR;
  return {
    stdout,
    stderr,
    out: (line = '') => stdout.write(`${line}\n`),
    note: (line) => stderr.write(`${line}\n`),
    ask: process.stdin.isTTY && stderr.isTTY ? askOnStandardInput : undefined,
    paint: coloured ? (style, text) => `\x1b[${SGR[style]}m${text}\x1b[0m` : (_, text) => text,
  };
}

async function askOnStandardInput(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(question);
  } finally {
    lines.close();
  }
}
