/** Measurements of one number of rows that count. */
const KEPT = 7;
/** With fewer, an estimate is not trusted to rule out drafts. */
const TRUSTED = 3;
/** Calls after which a measurement is forgotten: load, clock and context length change. */
const MAX_AGE_CALLS = 256;
/** Assumed before it is measured: every further row costs this share of one row. */
const ASSUMED_SHARE = 0.12;

interface Measured {
  ms: number[];
  lastCall: number;
}

/** What an engine call takes by its number of rows, from the calls that were made. */
export class VerifyCost {
  /** By class: 1, 2, 3–4, 5–8, 9–16, … rows. */
  readonly #classes = new Map<number, Measured>();
  #calls = 0;

  observe(rows: number, elapsedMs: number): void {
    this.#calls++;
    const rowClass = classOf(rows);
    const ms = [...(this.#fresh(rowClass)?.ms ?? []), elapsedMs].slice(-KEPT);
    this.#classes.set(rowClass, { ms, lastCall: this.#calls });
  }

  /** Milliseconds of a call of one row; undefined while unknown. */
  get oneRowMs(): number | undefined {
    const measured = this.#fresh(0);
    return measured && typical(measured.ms);
  }

  /** Milliseconds of a call of `rows` rows; undefined while not even one row is known. */
  estimateMs(rows: number): number | undefined {
    const { oneRowMs } = this;
    if (oneRowMs === undefined || rows === 1) return oneRowMs;
    const rowClass = classOf(rows);
    const ms = this.#fresh(rowClass)?.ms ?? [];
    if (ms.length >= TRUSTED) return typical(ms);
    return Math.min(...ms, oneRowMs + (rows - 1) * this.#msPerFurtherRow(rowClass, oneRowMs));
  }

  /** As seen in the next smaller class that is trusted. A dear large class says nothing about smaller ones. */
  #msPerFurtherRow(rowClass: number, oneRowMs: number): number {
    for (let smaller = rowClass - 1; smaller >= 1; smaller--) {
      const ms = this.#fresh(smaller)?.ms ?? [];
      if (ms.length >= TRUSTED) return Math.max(0, typical(ms) - oneRowMs) / (2 ** smaller - 1);
    }
    return ASSUMED_SHARE * oneRowMs;
  }

  #fresh(rowClass: number): Measured | undefined {
    const measured = this.#classes.get(rowClass);
    return measured && this.#calls - measured.lastCall < MAX_AGE_CALLS ? measured : undefined;
  }
}

function classOf(rows: number): number {
  return Math.ceil(Math.log2(rows));
}

/** The lower quartile: other work on the machine only ever adds time, and not the same to every call. */
function typical(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 2]!;
}
