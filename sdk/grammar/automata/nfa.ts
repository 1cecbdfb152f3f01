/** Automata that may be in several states at once: the form in which patterns are built, before they are determinized. */
import { tooComplex } from '../errors.js';
import { type Dfa, exploreDfa, type Interval, minimizedDfa } from './dfa.js';

const MAX_NFA_STATES = 100_000;
/** Larger automata stay as they are: refining takes time squared, and they work as well. */
const MAX_MINIMIZED = 2_000;

interface NfaState {
  readonly empty: number[];
  readonly moves: (readonly [low: number, high: number, target: number])[];
}

export class Nfa {
  readonly #states: NfaState[] = [];

  /** A state that leads nowhere yet. */
  state(): number {
    if (this.#states.length >= MAX_NFA_STATES) throw tooComplex(`a pattern of more than ${MAX_NFA_STATES} states`);
    return this.#states.push({ empty: [], moves: [] }) - 1;
  }

  move(from: number, intervals: readonly Interval[], to: number): void {
    for (const [low, high] of intervals) this.#states[from]!.moves.push([low, high, to]);
  }

  /** Without reading anything. */
  empty(from: number, to: number): void {
    this.#states[from]!.empty.push(to);
  }

  /** Copies an automaton in; its accepting states go on at `to` without reading. */
  embed(dfa: Dfa, to: number): number {
    const start = this.state();
    const states = Array.from(dfa.accepts, (accepts, i) => {
      const state = i === 0 ? start : this.state();
      if (accepts === 1) this.empty(state, to);
      return state;
    });
    for (const [i, state] of states.entries()) {
      for (let t = dfa.offsets[i]!; t < dfa.offsets[i + 1]!; t++) {
        this.move(state, [[dfa.lows[t]!, dfa.highs[t]!]], states[dfa.targets[t]!]!);
      }
    }
    return start;
  }

  acceptsEmpty(start: number, accepting: number): boolean {
    return this.#closure([start]).includes(accepting);
  }

  toDfa(start: number, accepting: number): Dfa {
    const dfa = exploreDfa<readonly number[]>(
      this.#closure([start]),
      (set) => set.join(' '),
      (set) => ({ accepts: set.includes(accepting), transitions: this.#follow(set) }),
    );
    return dfa.accepts.length <= MAX_MINIMIZED ? minimizedDfa(dfa) : dfa;
  }

  #closure(states: readonly number[]): readonly number[] {
    const seen = new Set(states);
    const pending = [...states];
    for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
      for (const next of this.#states[state]!.empty) {
        if (seen.has(next)) continue;
        seen.add(next);
        pending.push(next);
      }
    }
    return [...seen].filter((state) => this.#matters(state)).sort((a, b) => a - b);
  }

  /** States with nothing but empty moves only lead to others that are in the closure themselves. */
  #matters(state: number): boolean {
    const { empty, moves } = this.#states[state]!;
    return moves.length > 0 || empty.length === 0;
  }

  #follow(set: readonly number[]): [number, number, readonly number[]][] {
    const moves = set.flatMap((state) => this.#states[state]!.moves);
    const ends = new Set<number>();
    for (const [low, high] of moves) ends.add(low).add(high + 1);
    const cuts = [...ends].sort((a, b) => a - b);
    const targets: Set<number>[] = cuts.map(() => new Set());
    const indexOfCut = new Map(cuts.map((cut, i) => [cut, i]));
    for (const [low, high, target] of moves) {
      for (let i = indexOfCut.get(low)!; cuts[i]! <= high; i++) targets[i]!.add(target);
    }
    const closures = new Map<string, readonly number[]>();
    return targets.flatMap((reached, i): [number, number, readonly number[]][] => {
      if (reached.size === 0) return [];
      const sorted = [...reached].sort((a, b) => a - b);
      const key = sorted.join(' ');
      let closure = closures.get(key);
      if (closure === undefined) {
        closure = this.#closure(sorted);
        closures.set(key, closure);
      }
      return [[cuts[i]!, cuts[i + 1]! - 1, closure]];
    });
  }
}
