/** How much one caller may ask of a device. Memory protection only: who waits for the model is the scheduler's business. */
import { SdkError } from '../../core/errors.js';

export interface ClientLimitOptions {
  /** Requests a second of one caller, in the long run. Default 20. */
  readonly requestsPerSecond?: number | undefined;
  /** Requests of one caller at once. Default 40. */
  readonly burst?: number | undefined;
  /** Requests of one caller that are not answered yet. Default 32. */
  readonly unanswered?: number | undefined;
}

const DEFAULTS = { requestsPerSecond: 20, burst: 40, unanswered: 32 } as const;
/** Callers make up their response topics, so what is remembered of them is bounded. */
const MAX_CLIENTS = 1024;
const RETRY_AFTER_MS = 1_000;

interface Account {
  tokens: number;
  updatedMs: number;
  unanswered: number;
}

export class ClientLimits {
  #requestsPerSecond: number = DEFAULTS.requestsPerSecond;
  #burst: number = DEFAULTS.burst;
  #unanswered: number = DEFAULTS.unanswered;
  readonly #totalUnanswered: number;
  readonly #now: () => number;
  /** Least recently seen first. */
  readonly #accounts = new Map<string, Account>();
  #total = 0;

  /**
   * @param totalUnanswered of all callers together.
   * @param now milliseconds of a clock that only goes forward.
   */
  constructor(options: ClientLimitOptions, totalUnanswered: number, now: () => number) {
    this.change(options);
    this.#totalUnanswered = totalUnanswered;
    this.#now = now;
  }

  get requestsPerSecond(): number {
    return this.#requestsPerSecond;
  }

  /** From now on; what is left out is the default. What callers have used up stays used up. */
  change(options: ClientLimitOptions): void {
    this.#requestsPerSecond = options.requestsPerSecond ?? DEFAULTS.requestsPerSecond;
    this.#burst = options.burst ?? DEFAULTS.burst;
    this.#unanswered = options.unanswered ?? DEFAULTS.unanswered;
  }

  /** Requests taken and not answered, of all callers. */
  get unanswered(): number {
    return this.#total;
  }

  /**
   * Takes a request of `client`. @returns a function to call once when it is answered.
   * @throws SdkError ERR_BUSY with `details.retryAfterMs`.
   */
  take(client: string): () => void {
    const account = this.#account(client);
    const nowMs = this.#now();
    account.tokens = Math.min(
      this.#burst,
      account.tokens + ((nowMs - account.updatedMs) / 1000) * this.#requestsPerSecond,
    );
    account.updatedMs = nowMs;
    if (account.tokens < 1) {
      const retryAfterMs = Math.ceil(((1 - account.tokens) / this.#requestsPerSecond) * 1000);
      throw busy(
        `Expected at most ${this.#requestsPerSecond} requests a second of one caller (${this.#burst} at once), but one more came`,
        retryAfterMs,
      );
    }
    account.tokens -= 1;
    if (account.unanswered >= this.#unanswered) {
      throw busy(tooMany(this.#unanswered, 'of one caller'), RETRY_AFTER_MS);
    }
    if (this.#total >= this.#totalUnanswered) {
      throw busy(tooMany(this.#totalUnanswered, 'of all callers together'), RETRY_AFTER_MS);
    }
    account.unanswered += 1;
    this.#total += 1;
    return () => {
      account.unanswered -= 1;
      this.#total -= 1;
    };
  }

  #account(client: string): Account {
    const known = this.#accounts.get(client);
    if (known !== undefined) {
      this.#accounts.delete(client);
      this.#accounts.set(client, known);
      return known;
    }
    if (this.#accounts.size >= MAX_CLIENTS) this.#forgetOne();
    const account: Account = { tokens: this.#burst, updatedMs: this.#now(), unanswered: 0 };
    this.#accounts.set(client, account);
    return account;
  }

  /** The one not seen for longest; rather one that waits for nothing. */
  #forgetOne(): void {
    const idle = [...this.#accounts].find(([, { unanswered }]) => unanswered === 0);
    const oldest = idle?.[0] ?? this.#accounts.keys().next().value;
    if (oldest !== undefined) this.#accounts.delete(oldest);
  }
}

function tooMany(limit: number, whose: string): string {
  return `Expected at most ${limit} unanswered requests ${whose}, but one more came`;
}

function busy(why: string, retryAfterMs: number): SdkError {
  return new SdkError('ERR_BUSY', `${why}. Try again in ${retryAfterMs} ms.`, { details: { retryAfterMs } });
}
