/**
 * Names of properties that the schema does not list: as its classes of names allow, and none twice. The only leaf that
 * knows what was written before.
 */
import { type Dfa, wordCounts, wordsOf } from '../automata/dfa.js';
import { LeafState } from './leaf.js';
import { BoundaryState, startOfString } from './string-leaf.js';

/** Names written in an object so far, as bytes (Latin-1) with both quotes. */
export type UsedNames = ReadonlySet<string>;

export interface NameClass {
  readonly names: Dfa;
  readonly start: LeafState;
  /** Of each state of the automaton: names that it still leads to, up to MANY. */
  readonly counts: Float64Array;
}

const MANY = 1_024;

export function nameClass(names: Dfa): NameClass {
  const spec = {
    dfa: names,
    min: 0,
    max: Number.POSITIVE_INFINITY,
    lengthUnit: 'codePoints',
    canonical: true,
  } as const;
  return { names, start: startOfString(spec), counts: wordCounts(names, MANY) };
}

export class KeyState extends LeafState {
  readonly accepts: boolean;
  /** The string without regard to what is used. */
  readonly base: LeafState;
  /** Read so far, as Latin-1. */
  readonly text: string;
  readonly used: UsedNames;
  readonly #class: NameClass;
  /** Where the last whole character ended. */
  readonly #boundary: { readonly state: number; readonly text: string };

  constructor(
    nameClass: NameClass,
    used: UsedNames,
    base = nameClass.start,
    text = '',
    boundary = { state: 0, text: '"' },
  ) {
    super();
    this.#class = nameClass;
    this.used = used;
    this.base = base;
    this.text = text;
    this.#boundary = base instanceof BoundaryState ? { state: base.position.state, text } : boundary;
    this.accepts = base.accepts;
  }

  protected follow(byte: number): LeafState | null {
    const base = this.base.step(byte);
    if (base === null) return null;
    const next = new KeyState(this.#class, this.used, base, this.text + String.fromCharCode(byte), this.#boundary);
    return next.#leadsOn() ? next : null;
  }

  #leadsOn(): boolean {
    if (this.used.size === 0) return true;
    if (this.accepts) return !this.used.has(this.text);
    const { names, counts } = this.#class;
    if (counts[this.#boundary.state]! > this.used.size) return true;
    // So few names are left that all of them may be used.
    const words = wordsOf(fromState(names, this.#boundary.state), this.used.size) ?? [''];
    return words.some((word) => {
      const rest = Buffer.from(JSON.stringify(word).slice(1)).toString('latin1');
      const whole = this.#boundary.text + rest;
      return whole.startsWith(this.text) && !this.used.has(whole);
    });
  }
}

/** The automaton as if it began in another state. */
function fromState(dfa: Dfa, start: number): Dfa {
  if (start === 0) return dfa;
  const order = [start, ...Array.from(dfa.accepts, (_, state) => state).filter((state) => state !== start)];
  const renamed = new Int32Array(order.length);
  for (const [i, state] of order.entries()) renamed[state] = i;
  const offsets = new Int32Array(order.length + 1);
  const [lows, highs, targets]: [number[], number[], number[]] = [[], [], []];
  for (const [i, state] of order.entries()) {
    for (let t = dfa.offsets[state]!; t < dfa.offsets[state + 1]!; t++) {
      lows.push(dfa.lows[t]!);
      highs.push(dfa.highs[t]!);
      targets.push(renamed[dfa.targets[t]!]!);
    }
    offsets[i + 1] = lows.length;
  }
  return {
    accepts: Uint8Array.from(order, (state) => dfa.accepts[state]!),
    offsets,
    lows: Int32Array.from(lows),
    highs: Int32Array.from(highs),
    targets: Int32Array.from(targets),
  };
}
