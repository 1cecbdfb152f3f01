/** Measurements of one number of tokens that count. */
const KEPT = 7;
/** With fewer, an estimate is not trusted to rule out drafts. */
const TRUSTED = 3;
/** Calls after which a measurement is forgotten: load, clock and context length change. */
const MAX_AGE_CALLS = 256;
/** Assumed before it is measured: every further token costs this share of one token. */
const ASSUMED_SHARE = 0.12;

interface Measured {
  ms: number[];
  lastCall: number;
}

/** What an engine call takes by its number of tokens, from the calls that were made. */
export class VerifyCost {
  /** By class: 1, 2, 3–4, 5–8, 9–16, … tokens. */
  readonly #classes = new Map<number, Measured>();
  #calls = 0;

  observe(tokens: number, elapsedMs: number): void {
    this.#calls++;
    const tokenClass = classOf(tokens);
    const ms = [...(this.#fresh(tokenClass)?.ms ?? []), elapsedMs].slice(-KEPT);
    this.#classes.set(tokenClass, { ms, lastCall: this.#calls });
  }

  /** Milliseconds of a call of one token; undefined while unknown. */
  get oneTokenMs(): number | undefined {
    const measured = this.#fresh(0);
    return measured && typical(measured.ms);
  }

  /** Milliseconds of a call of `tokens` tokens; undefined while not even one token is known. */
  estimateMs(tokens: number): number | undefined {
    const { oneTokenMs } = this;
    if (oneTokenMs === undefined || tokens === 1) return oneTokenMs;
    const tokenClass = classOf(tokens);
    const ms = this.#fresh(tokenClass)?.ms ?? [];
    if (ms.length >= TRUSTED) return typical(ms);
    return Math.min(...ms, oneTokenMs + (tokens - 1) * this.#msPerFurtherToken(tokenClass, oneTokenMs));
  }

  /** As seen in the next smaller class that is trusted. A dear large class says nothing about smaller ones. */
  #msPerFurtherToken(tokenClass: number, oneTokenMs: number): number {
    for (let smaller = tokenClass - 1; smaller >= 1; smaller--) {
      const ms = this.#fresh(smaller)?.ms ?? [];
      if (ms.length >= TRUSTED) return Math.max(0, typical(ms) - oneTokenMs) / (2 ** smaller - 1);
    }
    return ASSUMED_SHARE * oneTokenMs;
  }

  #fresh(tokenClass: number): Measured | undefined {
    const measured = this.#classes.get(tokenClass);
    return measured && this.#calls - measured.lastCall < MAX_AGE_CALLS ? measured : undefined;
  }
}

function classOf(tokens: number): number {
  return Math.ceil(Math.log2(tokens));
}

/** The lower quartile: other work on the machine only ever adds time, and not the same to every call. */
function typical(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 2]!;
}
