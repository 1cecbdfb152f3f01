/**
 * Deterministic automata over Unicode code points: what strings, patterns and numbers are made of. Every state lies on
 * a way from the start to an accepting one, so an automaton without states has an empty language.
 */
import { tooComplex } from '../errors.js';

/** Plain data, so that it crosses a thread border. State 0 is the start. */
export interface Dfa {
  readonly accepts: Uint8Array;
  /** Transitions of state s: indices offsets[s] … offsets[s + 1] - 1 of the arrays below, in rising order. */
  readonly offsets: Int32Array;
  readonly lows: Int32Array;
  readonly highs: Int32Array;
  readonly targets: Int32Array;
}

/** [lowest, highest] code point, both inside. */
export type Interval = readonly [number, number];
export type Transition = readonly [low: number, high: number, target: number];

const MAX_STATES = 100_000;

/** Unicode scalar values: surrogates are no characters. */
export const ALL_CODE_POINTS: readonly Interval[] = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
];
export const LAST_CODE_POINT = 0x10ffff;

/**
 * Explores states by key, breadth first, and leaves out those that reach no accepting state.
 * @param follow transitions in rising order without overlaps, and whether the state accepts
 */
export function exploreDfa<State>(
  start: State,
  keyOf: (state: State) => string | number,
  follow: (state: State) => { readonly accepts: boolean; readonly transitions: readonly [number, number, State][] },
): Dfa {
  const ids = new Map<string | number, number>([[keyOf(start), 0]]);
  const states: State[] = [start];
  const accepts: boolean[] = [];
  const rows: Transition[][] = [];
  for (let id = 0; id < states.length; id++) {
    if (states.length > MAX_STATES) throw tooComplex(`an automaton of more than ${MAX_STATES} states`);
    const { accepts: accepting, transitions } = follow(states[id]!);
    accepts.push(accepting);
    const row: Transition[] = [];
    for (const [low, high, state] of transitions) {
      const key = keyOf(state);
      let target = ids.get(key);
      if (target === undefined) {
        target = states.push(state) - 1;
        ids.set(key, target);
      }
      const last = row.at(-1);
      if (last !== undefined && last[2] === target && last[1] + 1 === low)
        row[row.length - 1] = [last[0], high, target];
      else row.push([low, high, target]);
    }
    rows.push(row);
  }
  return trimmedDfa(accepts, rows);
}

function trimmedDfa(accepts: readonly boolean[], rows: readonly (readonly Transition[])[]): Dfa {
  const sources: number[][] = rows.map(() => []);
  for (const [state, row] of rows.entries()) for (const [, , target] of row) sources[target]!.push(state);
  const live = new Uint8Array(rows.length);
  const pending: number[] = [];
  for (const [state, accepting] of accepts.entries()) if (accepting) pending.push(state);
  for (const state of pending) live[state] = 1;
  for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
    for (const source of sources[state]!) {
      if (live[source] === 1) continue;
      live[source] = 1;
      pending.push(source);
    }
  }
  if (rows.length === 0 || live[0] === 0) return EMPTY_DFA;
  const renamed = new Int32Array(rows.length);
  let count = 0;
  for (let state = 0; state < rows.length; state++) renamed[state] = live[state] === 1 ? count++ : -1;
  const kept: Transition[][] = [];
  const keptAccepts = new Uint8Array(count);
  for (const [state, row] of rows.entries()) {
    if (live[state] === 0) continue;
    keptAccepts[renamed[state]!] = accepts[state] ? 1 : 0;
    kept.push(row.flatMap(([low, high, target]) => (live[target] === 1 ? [[low, high, renamed[target]!]] : [])));
  }
  return packDfa(keptAccepts, kept);
}

function packDfa(accepts: Uint8Array, rows: readonly (readonly Transition[])[]): Dfa {
  const total = rows.reduce((sum, row) => sum + row.length, 0);
  const offsets = new Int32Array(rows.length + 1);
  const [lows, highs, targets] = [new Int32Array(total), new Int32Array(total), new Int32Array(total)];
  let at = 0;
  for (const [state, row] of rows.entries()) {
    for (const [low, high, target] of row) {
      lows[at] = low;
      highs[at] = high;
      targets[at++] = target;
    }
    offsets[state + 1] = at;
  }
  return { accepts, offsets, lows, highs, targets };
}

export const EMPTY_DFA: Dfa = packDfa(new Uint8Array(0), []);
/** Every text. */
export const UNIVERSAL_DFA: Dfa = packDfa(Uint8Array.of(1), [
  ALL_CODE_POINTS.map(([low, high]) => [low, high, 0] as const),
]);

export function isEmptyDfa(dfa: Dfa): boolean {
  return dfa.accepts.length === 0;
}

/** State after a code point; -1 where nothing that is accepted goes on so. */
export function nextState(dfa: Dfa, state: number, codePoint: number): number {
  const transition = firstTransitionFrom(dfa, state, codePoint);
  return transition !== -1 && dfa.lows[transition]! <= codePoint ? dfa.targets[transition]! : -1;
}

/** Whether some code point of low … high leads on. */
export function leadsOn(dfa: Dfa, state: number, low: number, high: number): boolean {
  const transition = firstTransitionFrom(dfa, state, low);
  return transition !== -1 && dfa.lows[transition]! <= high;
}

/** Index of the first transition that ends at or after the code point. */
function firstTransitionFrom({ offsets, highs }: Dfa, state: number, codePoint: number): number {
  let [from, to] = [offsets[state]!, offsets[state + 1]!];
  const end = to;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (highs[middle]! < codePoint) from = middle + 1;
    else to = middle;
  }
  return from < end ? from : -1;
}

export function acceptsText(dfa: Dfa, text: string): boolean {
  if (isEmptyDfa(dfa)) return false;
  let state = 0;
  for (const character of text) {
    state = nextState(dfa, state, character.codePointAt(0)!);
    if (state === -1) return false;
  }
  return dfa.accepts[state] === 1;
}

/** Texts of both where `combine` says so of membership; false of neither. */
function productDfa(a: Dfa, b: Dfa, combine: (inA: boolean, inB: boolean) => boolean): Dfa {
  const needsA = !combine(false, true);
  const needsB = !combine(true, false);
  const base = b.accepts.length + 1;
  return exploreDfa<number>(
    (isEmptyDfa(a) ? 0 : 1) * base + (isEmptyDfa(b) ? 0 : 1),
    (pair) => pair,
    (pair) => {
      // 0 stands for "not in this automaton any more".
      const [stateA, stateB] = [Math.floor(pair / base) - 1, (pair % base) - 1];
      const accepts = combine(stateA >= 0 && a.accepts[stateA] === 1, stateB >= 0 && b.accepts[stateB] === 1);
      const transitions: [number, number, number][] = [];
      for (const [low, high, targetA, targetB] of mergedRows(a, stateA, b, stateB)) {
        if ((targetA < 0 && needsA) || (targetB < 0 && needsB)) continue;
        transitions.push([low, high, (targetA + 1) * base + targetB + 1]);
      }
      return { accepts, transitions };
    },
  );
}

/** Both states' transitions cut at each other's ends; -1 where one has none. */
function* mergedRows(a: Dfa, stateA: number, b: Dfa, stateB: number): Generator<[number, number, number, number]> {
  let [i, endA] = stateA < 0 ? [0, 0] : [a.offsets[stateA]!, a.offsets[stateA + 1]!];
  let [j, endB] = stateB < 0 ? [0, 0] : [b.offsets[stateB]!, b.offsets[stateB + 1]!];
  let at = 0;
  while (i < endA || j < endB) {
    const lowA = i < endA ? Math.max(a.lows[i]!, at) : Number.POSITIVE_INFINITY;
    const lowB = j < endB ? Math.max(b.lows[j]!, at) : Number.POSITIVE_INFINITY;
    const low = Math.min(lowA, lowB);
    let high = Number.POSITIVE_INFINITY;
    if (i < endA) high = Math.min(high, lowA === low ? a.highs[i]! : lowA - 1);
    if (j < endB) high = Math.min(high, lowB === low ? b.highs[j]! : lowB - 1);
    yield [low, high, lowA === low ? a.targets[i]! : -1, lowB === low ? b.targets[j]! : -1];
    at = high + 1;
    while (i < endA && a.highs[i]! < at) i++;
    while (j < endB && b.highs[j]! < at) j++;
  }
}

export function intersectDfa(a: Dfa, b: Dfa): Dfa {
  if (a === UNIVERSAL_DFA) return b;
  if (b === UNIVERSAL_DFA || a === b) return a;
  return productDfa(a, b, (inA, inB) => inA && inB);
}

export function uniteDfa(a: Dfa, b: Dfa): Dfa {
  if (a === UNIVERSAL_DFA || isEmptyDfa(b)) return a;
  if (b === UNIVERSAL_DFA || isEmptyDfa(a)) return b;
  return productDfa(a, b, (inA, inB) => inA || inB);
}

/** Texts of `a` that are not of `b`. */
export function subtractDfa(a: Dfa, b: Dfa): Dfa {
  return isEmptyDfa(b) ? a : productDfa(a, b, (inA, inB) => inA && !inB);
}

export function complementDfa(dfa: Dfa): Dfa {
  if (isEmptyDfa(dfa)) return UNIVERSAL_DFA;
  return subtractDfa(UNIVERSAL_DFA, dfa);
}

/** Exactly these texts. */
export function dfaOfWords(words: Iterable<string>): Dfa {
  const accepts = [false];
  const rows: Map<number, number>[] = [new Map()];
  for (const word of words) {
    if (/\p{Cs}/u.test(word)) continue; // cannot be written as UTF-8
    let state = 0;
    for (const character of word) {
      const codePoint = character.codePointAt(0)!;
      let next = rows[state]!.get(codePoint);
      if (next === undefined) {
        next = rows.push(new Map()) - 1;
        accepts.push(false);
        if (rows.length > MAX_STATES) throw tooComplex(`more than ${MAX_STATES} characters of enumerated text`);
        rows[state]!.set(codePoint, next);
      }
      state = next;
    }
    accepts[state] = true;
  }
  const sorted = rows.map((row) =>
    [...row].sort(([a], [b]) => a - b).map(([codePoint, target]): Transition => [codePoint, codePoint, target]),
  );
  return trimmedDfa(accepts, sorted);
}

/** Texts of `min` to `max` characters. */
export function dfaOfLength(min: number, max: number, unit: LengthUnit): Dfa {
  const limit = max === Number.POSITIVE_INFINITY ? min : max;
  return exploreDfa<number>(
    0,
    (count) => count,
    (count) => {
      const after = (width: number) =>
        max === Number.POSITIVE_INFINITY ? Math.min(count + width, limit) : count + width;
      const transitions: [number, number, number][] = [];
      for (const [low, high, width] of WIDTHS[unit]) {
        if (after(width) <= limit) transitions.push([low, high, after(width)]);
      }
      return { accepts: count >= min, transitions };
    },
  );
}

/** JSON Schema counts code points; `string.length`, which zod checks, counts UTF-16 units. */
export type LengthUnit = 'codePoints' | 'utf16';

const WIDTHS: Readonly<Record<LengthUnit, readonly [number, number, number][]>> = {
  codePoints: ALL_CODE_POINTS.map(([low, high]) => [low, high, 1]),
  utf16: [
    [0, 0xd7ff, 1],
    [0xe000, 0xffff, 1],
    [0x10000, LAST_CODE_POINT, 2],
  ],
};

/** All words, in order, when there are at most `most`; undefined when there are more. */
export function wordsOf(dfa: Dfa, most: number): string[] | undefined {
  const words: string[] = [];
  const onPath = new Uint8Array(dfa.accepts.length);
  const visit = (state: number, prefix: string): boolean => {
    // Every state leads to an accepting one, so a circle means words without end.
    if (onPath[state] === 1 || prefix.length > 10_000) return false;
    onPath[state] = 1;
    if (dfa.accepts[state] === 1) words.push(prefix);
    for (let t = dfa.offsets[state]!; t < dfa.offsets[state + 1]!; t++) {
      if (words.length > most || dfa.highs[t]! - dfa.lows[t]! >= most) return false;
      for (let codePoint = dfa.lows[t]!; codePoint <= dfa.highs[t]!; codePoint++) {
        if (!visit(dfa.targets[t]!, prefix + String.fromCodePoint(codePoint))) return false;
      }
    }
    onPath[state] = 0;
    return words.length <= most;
  };
  if (isEmptyDfa(dfa)) return [];
  return visit(0, '') ? words : undefined;
}

/** How many words each state still leads to, at most `cap`; `cap` where they are without end. */
export function wordCounts(dfa: Dfa, cap: number): Float64Array {
  const counts = new Float64Array(dfa.accepts.length).fill(-1);
  const onPath = new Uint8Array(dfa.accepts.length);
  const stack: number[] = [];
  for (let root = 0; root < counts.length; root++) {
    if (counts[root] === -1) stack.push(root);
    while (stack.length > 0) {
      const state = stack.at(-1)!;
      if (counts[state] !== -1) {
        stack.pop();
        continue;
      }
      if (onPath[state] === 0) {
        onPath[state] = 1;
        let circle = false;
        for (let t = dfa.offsets[state]!; t < dfa.offsets[state + 1]!; t++) {
          const target = dfa.targets[t]!;
          if (onPath[target] === 1) circle = true;
          else if (counts[target] === -1) stack.push(target);
        }
        if (circle) counts[state] = cap;
        continue;
      }
      let count = dfa.accepts[state]!;
      for (let t = dfa.offsets[state]!; t < dfa.offsets[state + 1]!; t++) {
        const target = counts[dfa.targets[t]!]!;
        count += (dfa.highs[t]! - dfa.lows[t]! + 1) * (target === -1 ? cap : target);
      }
      counts[state] = Math.min(count, cap);
      onPath[state] = 0;
      stack.pop();
    }
  }
  return counts;
}

/** The same language with as few states as there can be, by refining classes of states until they agree. */
export function minimizedDfa(dfa: Dfa): Dfa {
  const size = dfa.accepts.length;
  let classes = Int32Array.from(dfa.accepts);
  let count = 0;
  for (;;) {
    const ids = new Map<string, number>();
    const refined = new Int32Array(size);
    for (let state = 0; state < size; state++) {
      let signature = `${classes[state]}`;
      let [low, high, target] = [0, -2, -1];
      for (let t = dfa.offsets[state]!; t < dfa.offsets[state + 1]!; t++) {
        const next = classes[dfa.targets[t]!]!;
        if (next === target && dfa.lows[t] === high + 1) {
          high = dfa.highs[t]!;
          continue;
        }
        if (target !== -1) signature += `,${low}-${high}:${target}`;
        [low, high, target] = [dfa.lows[t]!, dfa.highs[t]!, next];
      }
      if (target !== -1) signature += `,${low}-${high}:${target}`;
      let id = ids.get(signature);
      if (id === undefined) {
        id = ids.size;
        ids.set(signature, id);
      }
      refined[state] = id;
    }
    classes = refined;
    if (ids.size === count) break;
    count = ids.size;
  }
  if (count === size) return dfa;
  const representative = new Int32Array(count).fill(-1);
  for (let state = size - 1; state >= 0; state--) representative[classes[state]!] = state;
  const rows = Array.from(representative, (state) => {
    const row: Transition[] = [];
    for (let t = dfa.offsets[state]!; t < dfa.offsets[state + 1]!; t++) {
      const target = classes[dfa.targets[t]!]!;
      const last = row.at(-1);
      if (last !== undefined && last[2] === target && last[1] + 1 === dfa.lows[t])
        row[row.length - 1] = [last[0], dfa.highs[t]!, target];
      else row.push([dfa.lows[t]!, dfa.highs[t]!, target]);
    }
    return row;
  });
  return packDfa(
    Uint8Array.from(representative, (state) => dfa.accepts[state]!),
    rows,
  );
}
