/** Requests that all members got: one takes each, the next in order when nobody has claimed it in time. */
import type { TakenRequest } from '../request-server.js';
import { rankMembers } from './selection.js';

/** For the claim of the one before to arrive; longer than a broker cluster takes between two of its nodes. */
const TURN_MS = 500;
/** In a large group the others do not wait longer than for so many; claims settle who keeps it. */
const LAST_TURN = 6;
/** Claims and requests that are remembered. */
const MAX_KEPT = 4096;

export interface ClaimsOptions {
  /** Of this member. */
  readonly id: string;
  /** Tells the others. */
  readonly claim: (key: string) => void;
}

interface Waiting {
  readonly timer: NodeJS.Timeout;
}

export class Claims {
  readonly #options: ClaimsOptions;
  readonly #waiting = new Map<string, Waiting>();
  /** Who has claimed a request, oldest first. */
  readonly #claimed = new Map<string, string>();
  /** Requests that this member took, oldest first. */
  readonly #taken = new Map<string, TakenRequest | undefined>();

  constructor(options: ClaimsOptions) {
    this.#options = options;
  }

  /**
   * A request that every member got.
   * @param order of the members that may take it
   * @param rounds this one gives way to all others so many times
   * @param take begins with it; called at most once, with false when others were before it and may answer as well
   */
  offer(
    key: string,
    { order, rounds }: { readonly order: readonly string[]; readonly rounds: number },
    take: (isFirst: boolean) => TakenRequest | undefined,
  ): void {
    if (this.#waiting.has(key) || this.#taken.has(key) || this.#claimed.has(key)) return;
    const place = order.indexOf(this.#options.id);
    const turn = Math.min(place, LAST_TURN) + rounds * Math.min(order.length, LAST_TURN + 1);
    if (place < 0 || this.#waiting.size >= MAX_KEPT) return;
    if (turn === 0) {
      this.#take(key, () => take(true));
      return;
    }
    const timer = setTimeout(() => {
      this.#waiting.delete(key);
      this.#take(key, () => take(false));
    }, turn * TURN_MS);
    this.#waiting.set(key, { timer });
  }

  /** The member `id` claims a request. */
  hear(key: string, id: string): void {
    if (id === this.#options.id) return;
    remember(this.#claimed, key, id);
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) {
      clearTimeout(waiting.timer);
      this.#waiting.delete(key);
    }
    // Both took it, because they did not see the same members: both find the same one of the two.
    if (!this.#taken.has(key) || rankMembers(key, [id, this.#options.id])[0] === this.#options.id) return;
    this.#taken.get(key)?.cancel();
    this.#taken.set(key, undefined);
  }

  /** What waits for its turn is left to the others. */
  clear(): void {
    for (const { timer } of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
  }

  #take(key: string, take: () => TakenRequest | undefined): void {
    this.#options.claim(key);
    remember(this.#taken, key, take());
  }
}

function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.set(key, value);
  const oldest = map.keys().next().value;
  if (map.size > MAX_KEPT && oldest !== undefined) map.delete(oldest);
}
