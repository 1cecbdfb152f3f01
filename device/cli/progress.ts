import type { OnProgress, Progress } from 'scenebus';
import type { OutputStream } from './terminal.js';

const BAR_CELLS = 24;
const LINE_INTERVAL_MS = 5_000;

export interface ProgressReporter extends Disposable {
  readonly onProgress: OnProgress;
  /** Clears the line for other output; the next progress is drawn again below it. */
  clear(): void;
}

/**
 * Shows long work on stderr: one line that rewrites itself on a terminal; elsewhere (logs, CI) a line when a phase
 * begins and ends and now and then between. Dispose to leave the cursor on a fresh line.
 */
export function createProgressReporter(
  stream: OutputStream,
  nowMs: () => number = () => performance.now(),
): ProgressReporter {
  return stream.isTTY ? new BarReporter(stream, nowMs) : new LineReporter(stream, nowMs);
}

/** When a phase began and how far it was then: a run that goes on does not count what an earlier one did. */
class Pace {
  readonly #nowMs: () => number;
  #phase: string | undefined;
  #startedAtMs = 0;
  #doneAtStart = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** `, 61.2 MB/s, 3 min left`; nothing in the first seconds, when it would only be noise. */
  describe({ phase, done, total, unit }: Progress): string {
    if (phase !== this.#phase) {
      this.#phase = phase;
      this.#startedAtMs = this.#nowMs();
      this.#doneAtStart = done;
    }
    const elapsedMs = this.#nowMs() - this.#startedAtMs;
    const rate = (done - this.#doneAtStart) / (elapsedMs / 1000);
    if (elapsedMs < 2_000 || !(rate > 0)) return '';
    const speed = unit === 'bytes' ? `, ${(rate / 1e6).toFixed(1)} MB/s` : '';
    return total > done ? `${speed}, ${describeSeconds((total - done) / rate)} left` : speed;
  }
}

function describeSeconds(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

class BarReporter implements ProgressReporter {
  readonly #stream: OutputStream;
  readonly #nowMs: () => number;
  readonly #pace: Pace;
  #phase: string | undefined;
  #drawnAtMs = 0;
  /** The cursor stands at the end of a bar. */
  #isDrawn = false;
  #hasEnded = false;

  constructor(stream: OutputStream, nowMs: () => number) {
    this.#stream = stream;
    this.#nowMs = nowMs;
    this.#pace = new Pace(nowMs);
  }

  readonly onProgress = (progress: Progress): void => {
    const now = this.#nowMs();
    const pace = this.#pace.describe(progress);
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
    const text = `${describeProgress(progress)}${pace}`;
    const line = progress.total > 0 ? `${bar(progress)} ${text}` : text;
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
  readonly #pace: Pace;
  #phase: string | undefined;
  #writtenAtMs = 0;
  #ended = false;

  constructor(stream: OutputStream, nowMs: () => number) {
    this.#stream = stream;
    this.#nowMs = nowMs;
    this.#pace = new Pace(nowMs);
  }

  readonly onProgress = (progress: Progress): void => {
    const now = this.#nowMs();
    const pace = this.#pace.describe(progress);
    const isNew = progress.phase !== this.#phase;
    const isEnd = progress.total > 0 && progress.done >= progress.total;
    if (isNew) this.#ended = false;
    if (this.#ended || (!isNew && !isEnd && now - this.#writtenAtMs < LINE_INTERVAL_MS)) return;
    this.#phase = progress.phase;
    this.#writtenAtMs = now;
    this.#ended = isEnd;
    this.#stream.write(`${describeProgress(progress)}${pace}\n`);
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
