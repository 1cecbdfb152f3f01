import type { OnProgress, Progress } from 'scenebus';
import type { OutputStream } from './terminal.js';

const BAR_CELLS = 24;
const LINE_INTERVAL_MS = 5_000;

export interface ProgressReporter extends Disposable {
  readonly onProgress: OnProgress;
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
    if (!isSame && this.#phase !== undefined) this.#stream.write('\n');
    this.#phase = progress.phase;
    this.#drawnAtMs = now;
    const line = `${bar(progress)} ${describeProgress(progress)}`;
    this.#stream.write(`\r\x1b[2K${line.slice(0, Math.max(20, (this.#stream.columns ?? 100) - 1))}`);
  };

  [Symbol.dispose](): void {
    if (this.#phase !== undefined) this.#stream.write('\n');
    this.#phase = undefined;
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
