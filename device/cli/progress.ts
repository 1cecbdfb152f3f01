import type { OnProgress, Progress } from 'scenebus';
import type { OutputStream } from './terminal.js';

const BAR_CELLS = 24;
const LINE_INTERVAL_MS = 5_000;

export interface ProgressReporter extends Disposable {
  readonly onProgress: OnProgress;
  /** Makes room for a line of somebody else; the next progress draws anew. */
  clear(): void;
}

/**
 * Shows long work on stderr: one line that rewrites itself on a terminal; elsewhere (logs, CI) a line when a phase
 * begins and ends and now and then between. Dispose to leave the cursor on a fresh line.
 */
export function createProgressReporter(stream: OutputStream, nowMs: () => number = Date.now): ProgressReporter {
  return stream.isTTY ? new BarReporter(stream, nowMs) : new LineReporter(stream, nowMs);
}

class BarReporter implements ProgressReporter {
  readonly #stream: OutputStream;
  readonly #nowMs: () => number;
  #phase: string | undefined;
  #drawnAtMs = 0;
  /** The cursor stands at the end of a bar. */
  #isDrawn = false;
  #hasEnded = false;

  constructor(stream: OutputStream, nowMs: () => number) {
    this.#stream = stream;
    this.#nowMs = nowMs;
  }

  readonly onProgress = (progress: Progress): void => {
    const now = this.#nowMs();
    const isSame = progress.phase === this.#phase;
    const isEnd = progress.total > 0 && progress.done >= progress.total;
    // A terminal over a slow line must not hold up the work: ten updates a second are enough.
    if (isSame && !isEnd && now - this.#drawnAtMs < 100) return;
    // An end that is told twice is drawn once.
    if (isSame && isEnd && this.#hasEnded) return;
    if (!isSame) this.#endLine();
    this.#hasEnded = isEnd;
    this.#phase = progress.phase;
    this.#drawnAtMs = now;
    const line = progress.total > 0 ? `${bar(progress)} ${describeProgress(progress)}` : describeProgress(progress);
    this.#stream.write(`\r\x1b[2K${line.slice(0, (this.#stream.columns || 100) - 1)}`);
    this.#isDrawn = true;
    if (isEnd) this.#endLine();
  };

  clear(): void {
    if (this.#isDrawn) this.#stream.write('\r\x1b[2K');
    this.#isDrawn = false;
  }

  [Symbol.dispose](): void {
    this.#endLine();
    this.#phase = undefined;
  }

  #endLine(): void {
    if (this.#isDrawn) this.#stream.write('\n');
    this.#isDrawn = false;
  }
}

class LineReporter implements ProgressReporter {
  readonly #stream: OutputStream;
  readonly #nowMs: () => number;
  #phase: string | undefined;
  #writtenAtMs = 0;
  #ended = false;

  constructor(stream: OutputStream, nowMs: () => number) {
    this.#stream = stream;
    this.#nowMs = nowMs;
  }

  readonly onProgress = (progress: Progress): void => {
    const now = this.#nowMs();
    const isNew = progress.phase !== this.#phase;
    const isEnd = progress.total > 0 && progress.done >= progress.total;
    if (isNew) this.#ended = false;
    if (this.#ended || (!isNew && !isEnd && now - this.#writtenAtMs < LINE_INTERVAL_MS)) return;
    this.#phase = progress.phase;
    this.#writtenAtMs = now;
    this.#ended = isEnd;
    this.#stream.write(`${describeProgress(progress)}\n`);
  };

  /** Lines stay. */
  clear(): void {}

  [Symbol.dispose](): void {}
}

function bar({ done, total }: Progress): string {
  const filled = total > 0 ? Math.round((BAR_CELLS * Math.min(done, total)) / total) : 0;
  return `[${'='.repeat(filled)}${' '.repeat(BAR_CELLS - filled)}]`;
}

/** `Quantising: 12.0 of 48.0 MB (25 %)` */
export function describeProgress({ phase, done, total, unit }: Progress): string {
  const amount = (value: number) => (unit === 'bytes' ? (value / 1e6).toFixed(1) : String(value));
  const name = unit === 'bytes' ? 'MB' : unit;
  if (total <= 0) return done > 0 ? `${phase}: ${amount(done)} ${name}` : phase;
  return `${phase}: ${amount(done)} of ${amount(total)} ${name} (${Math.floor((100 * done) / total)} %)`;
}
