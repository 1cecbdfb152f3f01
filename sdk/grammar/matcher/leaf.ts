/** Automata over bytes, made state by state as they are walked: literals, numbers, strings. */
import { type Dfa, nextState } from '../automata/dfa.js';

let lastId = 0;

/** A place inside of a leaf. States from which nothing can be completed are never made. */
export abstract class LeafState {
  readonly id = ++lastId;
  /** What was read is a whole literal, number or string. */
  abstract readonly accepts: boolean;
  readonly #next: (LeafState | null | undefined)[] = [];

  step(byte: number): LeafState | null {
    const known = this.#next[byte];
    if (known !== undefined) return known;
    const next = this.follow(byte);
    this.#next[byte] = next;
    return next;
  }

  protected abstract follow(byte: number): LeafState | null;
}

/** Fixed bytes. */
export class LiteralState extends LeafState {
  readonly accepts: boolean;
  readonly #bytes: Uint8Array;
  readonly #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    super();
    this.#bytes = bytes;
    this.#at = at;
    this.accepts = at === bytes.length;
  }

  protected follow(byte: number): LeafState | null {
    return this.#bytes[this.#at] === byte ? new LiteralState(this.#bytes, this.#at + 1) : null;
  }
}

/** An automaton of ASCII texts, read as it is. */
export class PlainState extends LeafState {
  readonly accepts: boolean;
  readonly #dfa: Dfa;
  readonly #state: number;
  readonly #all: Map<number, PlainState>;

  private constructor(dfa: Dfa, state: number, all: Map<number, PlainState>) {
    super();
    this.#dfa = dfa;
    this.#state = state;
    this.#all = all;
    this.accepts = dfa.accepts[state] === 1;
    all.set(state, this);
  }

  static start(dfa: Dfa): PlainState {
    return new PlainState(dfa, 0, new Map());
  }

  protected follow(byte: number): LeafState | null {
    const state = nextState(this.#dfa, this.#state, byte);
    return state === -1 ? null : (this.#all.get(state) ?? new PlainState(this.#dfa, state, this.#all));
  }
}
