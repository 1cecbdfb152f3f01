/** Who goes next on the engine. Pure bookkeeping: no clock, no engine. */
import { PRIORITIES, type Priority } from './priority.js';

/** What the order looks at. */
export interface Claim {
  readonly priority: Priority;
  readonly caller: string;
  /** On the scheduler's clock; undefined: none. */
  readonly deadlineAtMs: number | undefined;
  /** Counts up with every request. */
  readonly arrival: number;
}

/** Of the time that higher priorities take, so much is owed to a lower one that waits: a tenth of the whole. */
const OWED_SHARE = 1 / 9;
/** Less is not worth holding up a question for. */
const LEAST_OWED_MS = 100;
const MOST_OWED_MS = 10_000;

/**
 * Priority first; within it callers in turn, the one that was served longest ago first; of one caller the nearest
 * deadline, then who came first. A lower priority is owed a share of the time, so that higher ones cannot silence it.
 */
export class PickOrder {
  readonly #servedAt = new Map<string, number>();
  readonly #owedMs = new Map<Priority, number>();
  #served = 0;

  /** All claims, who goes next first: every caller's best claim before anybody's second. */
  sort<T extends Claim>(claims: readonly T[]): readonly T[] {
    const [only] = claims;
    if (only === undefined) return claims;
    if (claims.length === 1) {
      this.#forgetOthers(keyOf(only.priority, only.caller));
      return claims;
    }
    const present = new Set(claims.map(({ priority, caller }) => keyOf(priority, caller)));
    for (const key of this.#servedAt.keys()) if (!present.has(key)) this.#servedAt.delete(key);
    return this.#priorities().flatMap((priority) => this.#inTurn(claims.filter((each) => each.priority === priority)));
  }

  /** A caller whose turn ended goes behind the others; a new one stands right before who was served last. */
  serve({ priority, caller }: Claim): void {
    this.#servedAt.set(keyOf(priority, caller), ++this.#served);
  }

  /** The engine was busy for `served`, while `claims` wanted it, `served` among them. */
  spend(served: Claim, elapsedMs: number, claims: readonly Claim[]): void {
    if (claims.length === 1 && this.#owedMs.size === 0) return;
    const rank = PRIORITIES.indexOf(served.priority);
    for (const [lower, priority] of PRIORITIES.entries()) {
      const isWaiting = claims.some((each) => each.priority === priority);
      const owedMs = this.#owedMs.get(priority) ?? 0;
      if (!isWaiting) this.#owedMs.delete(priority);
      else if (lower > rank) {
        this.#owedMs.set(priority, Math.min(MOST_OWED_MS, owedMs + elapsedMs * OWED_SHARE));
      } else if (lower === rank && owedMs > 0) this.#owedMs.set(priority, owedMs - elapsedMs);
    }
  }

  /** Most of the time there is one claim, for a token every few milliseconds or less. */
  #forgetOthers(key: string): void {
    const servedAt = this.#servedAt.get(key);
    if (servedAt !== undefined && this.#servedAt.size === 1) return;
    this.#servedAt.clear();
    this.#servedAt.set(key, servedAt ?? this.#served - 0.5);
  }

  #priorities(): readonly Priority[] {
    const owed = PRIORITIES.filter((priority) => (this.#owedMs.get(priority) ?? 0) >= LEAST_OWED_MS);
    return [...owed.reverse(), ...PRIORITIES.filter((priority) => !owed.includes(priority))];
  }

  #inTurn<T extends Claim>(claims: readonly T[]): T[] {
    const byCaller = new Map<string, T[]>();
    for (const claim of claims) {
      const key = keyOf(claim.priority, claim.caller);
      if (!this.#servedAt.has(key)) this.#servedAt.set(key, this.#served - 0.5);
      byCaller.set(key, [...(byCaller.get(key) ?? []), claim]);
    }
    // Maps keep the order of arrival, and sorting is stable: of equals the one that has been there longer comes first.
    const callers = [...byCaller].sort(([a], [b]) => this.#servedAt.get(a)! - this.#servedAt.get(b)!);
    const inOrder = callers.map(([, own]) => own.sort(byUrgency));
    const longest = Math.max(0, ...inOrder.map((own) => own.length));
    const everybodys = (place: number) => inOrder.flatMap((own) => own.slice(place, place + 1));
    return Array.from({ length: longest }, (_, place) => everybodys(place)).flat();
  }
}

function byUrgency(a: Claim, b: Claim): number {
  const [first, second] = [a.deadlineAtMs ?? Number.POSITIVE_INFINITY, b.deadlineAtMs ?? Number.POSITIVE_INFINITY];
  return first === second ? a.arrival - b.arrival : first - second;
}

function keyOf(priority: Priority, caller: string): string {
  return `${priority} ${caller}`;
}
