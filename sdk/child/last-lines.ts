import type { Readable } from 'node:stream';

const KEPT_LINES = 20;
const LINE_CHARACTERS = 500;

/** What a child writes: each line is told, the last ones are kept for the error that may follow. */
export class LastLines {
  readonly #lines: string[] = [];
  readonly #onLine: (line: string) => void;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  get text(): string {
    return this.#lines.join('\n');
  }

  /** Reads a pipe to its end, however long its lines are. */
  read(pipe: Readable | null | undefined): void {
    let rest = '';
    pipe?.setEncoding('utf8');
    pipe?.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = (lines.pop() ?? '').slice(-LINE_CHARACTERS);
      for (const line of lines) this.#add(line);
    });
    pipe?.on('end', () => this.#add(rest));
    pipe?.on('error', () => {});
  }

  #add(line: string): void {
    if (line.trim() === '') return;
    const shown = line.slice(0, LINE_CHARACTERS);
    this.#lines.push(shown);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    this.#onLine(shown);
  }
}
