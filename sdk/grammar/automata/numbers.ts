/**
 * Numbers of a range as JSON writes them. Both readings of what is written keep the range: the decimal itself, and the
 * double that JSON.parse makes of it. The forms are
 * - digits, with up to 24 before and 24 after the point;
 * - one digit other than 0, up to 24 after the point, and an exponent of up to three digits.
 */
import { tooComplex } from '../errors.js';
import { borderAbove, borderBelow, type Decimal, decimalOf } from './decimal.js';
import { type Dfa, EMPTY_DFA, exploreDfa, minimizedDfa, uniteDfa } from './dfa.js';

/** low ≤ x ≤ high, or < where exclusive; finite. */
export interface NumberRange {
  readonly low: number;
  readonly lowExclusive: boolean;
  readonly high: number;
  readonly highExclusive: boolean;
  readonly integer: boolean;
  /** The value is a multiple of `of` / 10^`decimals`; then it is written in plain digits. */
  readonly multiple?: { readonly of: number; readonly decimals: number } | undefined;
}

const MAX_DIGITS = 24;
const MAX_EXPONENT_DIGITS = 3;
const MAX_EXPONENT = 10 ** MAX_EXPONENT_DIGITS - 1;

export const ANY_NUMBER: NumberRange = {
  low: -Number.MAX_VALUE,
  lowExclusive: false,
  high: Number.MAX_VALUE,
  highExclusive: false,
  integer: false,
};

export function isEmptyRange({ low, high, lowExclusive, highExclusive, integer }: NumberRange): boolean {
  if (low > high || (low === high && (lowExclusive || highExclusive))) return true;
  if (!integer) return false;
  const first = lowExclusive && Number.isInteger(low) ? low + 1 : Math.ceil(low);
  const last = highExclusive && Number.isInteger(high) ? high - 1 : Math.floor(high);
  return first > last;
}

/** @throws SdkError ERR_LIMIT_EXCEEDED for multiples that need too many states */
export function dfaOfNumbers(ranges: readonly NumberRange[]): Dfa {
  const parts = ranges.filter((range) => !isEmptyRange(range)).map(dfaOfRange);
  return parts.length === 0 ? EMPTY_DFA : parts.reduce(uniteDfa);
}

const cache = new Map<string, Dfa>();
const MAX_CACHED = 256;

function dfaOfRange(range: NumberRange): Dfa {
  const key = JSON.stringify([range.low, Object.is(range.low, -0), range, range.integer]);
  let dfa = cache.get(key);
  if (dfa === undefined) {
    if (cache.size >= MAX_CACHED) cache.clear();
    dfa = buildDfa(range);
    cache.set(key, dfa);
  }
  return dfa;
}

/** A bound on the size of a number, without its sign. */
interface Bound {
  readonly at: Decimal;
  /** The bound itself is outside. */
  readonly exclusive: boolean;
}

/** What both readings of a decimal must keep. */
interface Magnitudes {
  readonly from: readonly Bound[];
  readonly to: readonly Bound[];
}

function magnitudesOf(
  low: number,
  lowExclusive: boolean,
  high: number,
  highExclusive: boolean,
): Magnitudes | undefined {
  if (high < 0 || low > high || (low === high && (lowExclusive || highExclusive))) return undefined;
  const from: Bound[] = [];
  if (low > 0 || (low === 0 && lowExclusive)) {
    from.push({ at: decimalOf(low), exclusive: lowExclusive });
    // Above the bound in decimals, but so near that the double is the bound.
    if (lowExclusive) {
      const { at, belongsBelow } = borderAbove(low);
      from.push({ at, exclusive: belongsBelow });
    }
  }
  const to: Bound[] = [{ at: decimalOf(high), exclusive: highExclusive }];
  if (highExclusive) {
    if (high === 0) return undefined;
    const { at, belongsBelow } = borderBelow(high);
    to.push({ at, exclusive: !belongsBelow });
  }
  return { from: [strictest(from, 1)].flat(), to: [strictest(to, -1)].flat() };
}

/** Of two bounds on the same side the one that implies the other. */
function strictest(bounds: readonly Bound[], side: 1 | -1): readonly Bound[] {
  if (bounds.length < 2) return bounds;
  const [a, b] = bounds as [Bound, Bound];
  const order = compareDecimals(a.at, b.at) * side;
  if (order === 0) return [a.exclusive ? a : b];
  return [order > 0 ? a : b];
}

function compareDecimals(a: Decimal, b: Decimal): number {
  if (a.digits.length === 0 || b.digits.length === 0) return a.digits.length - b.digits.length;
  if (a.exponent !== b.exponent) return a.exponent - b.exponent;
  for (let i = 0; i < Math.max(a.digits.length, b.digits.length); i++) {
    const difference = (a.digits[i] ?? 0) - (b.digits[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Order of what was read so far to the digits of a bound: -1, 0 or 1. */
type Order = -1 | 0 | 1;

interface NumberState {
  readonly part: 'start' | 'minus' | 'whole' | 'point' | 'fraction' | 'sign' | 'exponent';
  readonly negative: boolean;
  /** Digits of the whole part, then of the fraction. */
  readonly whole: number;
  readonly fraction: number;
  /** The number begins with 0. */
  readonly zero: boolean;
  /** Of each bound: order of the plain decimal, and of the digits from the first on. */
  readonly plain: readonly Order[];
  readonly scientific: readonly Order[];
  readonly remainder: number;
  /** Digits of the fraction up to the last that is not 0; of integers only. */
  readonly decimals: number;
  /** Exponents that are left, and the one read so far. */
  readonly lowest: number;
  readonly highest: number;
  readonly exponent: number;
  readonly exponentDigits: number;
  readonly exponentNegative: boolean;
  /** The exponent may end here; whether more digits may follow. */
  readonly exponentEnds: boolean;
  readonly exponentRest: 'all' | 'none' | 'some';
}

const START: NumberState = {
  part: 'start',
  negative: false,
  whole: 0,
  fraction: 0,
  zero: false,
  plain: [],
  scientific: [],
  remainder: 0,
  decimals: 0,
  lowest: 0,
  highest: 0,
  exponent: 0,
  exponentDigits: 0,
  exponentNegative: false,
  exponentEnds: false,
  exponentRest: 'some',
};

const [ZERO, NINE] = [0x30, 0x39];

function buildDfa(range: NumberRange): Dfa {
  const above = magnitudesOf(
    Math.max(range.low, 0),
    range.low >= 0 && range.lowExclusive,
    range.high,
    range.highExclusive,
  );
  const below = magnitudesOf(
    Math.max(-range.high, 0),
    range.high <= 0 && range.highExclusive,
    -range.low,
    range.lowExclusive,
  );
  const bounds = (negative: boolean): Magnitudes | undefined => (negative ? below : above);
  if (range.multiple !== undefined && range.multiple.of > 10_000) {
    throw tooComplex(`multiples of ${range.multiple.of / 10 ** range.multiple.decimals}`);
  }
  const machine = new NumberMachine(range, bounds);
  return minimizedDfa(
    exploreDfa<NumberState>(START, keyOf, (state) => ({
      accepts: machine.accepts(state),
      transitions: machine.follow(state),
    })),
  );
}

function keyOf(state: NumberState): string {
  if (state.part === 'sign' || state.part === 'exponent') {
    return `${state.part} ${state.lowest} ${state.highest} ${state.exponent} ${state.exponentDigits} ${state.exponentNegative} ${state.exponentEnds} ${state.exponentRest}`;
  }
  const { part, negative, whole, fraction, zero, plain, scientific, remainder, decimals } = state;
  return `${part} ${negative} ${whole} ${fraction} ${zero} ${plain} ${scientific} ${remainder} ${decimals}`;
}

class NumberMachine {
  readonly #range: NumberRange;
  readonly #bounds: (negative: boolean) => Magnitudes | undefined;
  readonly #above: readonly Bound[];
  readonly #below: readonly Bound[];

  constructor(range: NumberRange, bounds: (negative: boolean) => Magnitudes | undefined) {
    this.#range = range;
    this.#bounds = bounds;
    const [above, below] = [bounds(false), bounds(true)];
    this.#above = above === undefined ? [] : [...above.from, ...above.to];
    this.#below = below === undefined ? [] : [...below.from, ...below.to];
  }

  #list(negative: boolean): readonly Bound[] {
    return negative ? this.#below : this.#above;
  }

  accepts(state: NumberState): boolean {
    if (state.part === 'exponent') {
      return state.exponentEnds;
    }
    if (state.part !== 'whole' && state.part !== 'fraction') return false;
    if (state.decimals > 0) return false;
    return this.#inRange(state, this.#plainOrders(state)) && this.#isMultiple(state);
  }

  #isMultiple({ remainder, fraction }: NumberState): boolean {
    const { multiple } = this.#range;
    if (multiple === undefined) return true;
    let left = remainder;
    for (let i = fraction; i < multiple.decimals; i++) left = (left * 10) % multiple.of;
    return left === 0;
  }

  #inRange({ negative }: NumberState, orders: readonly Order[]): boolean {
    const { from, to } = this.#bounds(negative)!;
    return (
      from.every(({ exclusive }, i) => orders[i]! > (exclusive ? 0 : -1)) &&
      to.every(({ exclusive }, i) => orders[from.length + i]! < (exclusive ? 0 : 1))
    );
  }

  /** Order of the whole number read, if it ended here. */
  #plainOrders(state: NumberState): readonly Order[] {
    return this.#list(state.negative).map(({ at }, i): Order => {
      if (state.part === 'whole' && wholeLength(at) > state.whole) return -1;
      const order = state.plain[i]!;
      if (order !== 0) return order;
      // Digits of the bound that were not read.
      const read = state.part === 'fraction' ? at.exponent + state.fraction : wholeLength(at);
      return read < at.digits.length ? -1 : 0;
    });
  }

  follow(state: NumberState): [number, number, NumberState][] {
    switch (state.part) {
      case 'start': {
        const starts: [number, number, NumberState][] = [];
        const minus: NumberState = { ...state, part: 'minus', negative: true };
        if (this.#bounds(true) !== undefined) starts.push([0x2d, 0x2d, minus]);
        return this.#bounds(false) === undefined ? starts : [...starts, ...this.#firstDigits(state)];
      }
      case 'minus':
        return this.#firstDigits(state);
      case 'whole':
        return this.#afterWhole(state);
      case 'point':
        return this.#fractionDigits(state);
      case 'fraction':
        return [...this.#fractionDigits(state), ...this.#beginExponent(state)];
      case 'sign':
        return this.#exponentDigits(state);
      case 'exponent':
        return this.#exponentDigits(state);
    }
  }

  /** Digits of the bounds cut the ten into groups; 0 and remainders make a difference too. */
  #runs(state: NumberState, indexOf: (at: Decimal) => number): readonly number[] {
    if (this.#range.multiple !== undefined) return EVERY_DIGIT;
    const cuts = new Set([0, 1]);
    for (const { at } of this.#list(state.negative)) {
      const digit = at.digits[indexOf(at)] ?? 0;
      cuts.add(digit);
      if (digit < 9) cuts.add(digit + 1);
    }
    return [...cuts].sort((a, b) => a - b);
  }

  #firstDigits(state: NumberState): [number, number, NumberState][] {
    const list = this.#list(state.negative);
    const begun: NumberState = { ...state, plain: list.map(() => 0), scientific: list.map(() => 0) };
    return digits(
      this.#runs(begun, () => 0),
      (digit) => this.#wholeDigit(begun, digit),
    );
  }

  #afterWhole(state: NumberState): [number, number, NumberState][] {
    const next: [number, number, NumberState][] = [];
    const orders = this.#list(state.negative).map(
      ({ at }, i): Order => (wholeLength(at) > state.whole ? -1 : state.plain[i]!),
    );
    // From here on it only matters whether an exponent may come.
    const whole = Math.min(state.whole, 2);
    next.push([0x2e, 0x2e, { ...state, part: 'point', whole, plain: orders }]);
    // A number that begins with 0 has no other digit before the point.
    if (!state.zero && state.whole < MAX_DIGITS) {
      const runs = this.#runs(state, () => state.whole);
      next.push(
        ...digits(runs, (digit) => this.#wholeDigit(state, digit)).filter(([, , each]) => !this.#isTooLarge(each)),
      );
    }
    next.push(...this.#beginExponent(state));
    return next;
  }

  /** Above the bound, and two digits or more, so that no exponent makes it smaller again. */
  #isTooLarge({ negative, plain, whole }: NumberState): boolean {
    const { from } = this.#bounds(negative)!;
    return this.#list(negative).some(({ at }, i) => i >= from.length && plain[i] === 1 && whole >= wholeLength(at));
  }

  #wholeDigit(state: NumberState, digit: number): NumberState {
    const list = this.#list(state.negative);
    const whole = state.whole + 1;
    const zero = state.whole === 0 ? digit === 0 : state.zero;
    const plain = list.map(({ at }, i): Order => {
      // 0 has no digits before the point: it is compared where the fraction begins.
      if (zero) return at.exponent > 0 ? -1 : 0;
      if (whole > wholeLength(at)) return 1;
      return state.plain[i]! !== 0 ? state.plain[i]! : order(digit, at.digits[whole - 1] ?? 0);
    });
    const scientific = list.map(({ at }) => (whole === 1 && !zero ? order(digit, at.digits[0] ?? 0) : 0));
    return {
      ...state,
      part: 'whole',
      whole,
      zero,
      plain,
      scientific,
      remainder: this.#nextRemainder(state.remainder, digit),
    };
  }

  #nextRemainder(remainder: number, digit: number): number {
    const { multiple } = this.#range;
    return multiple === undefined ? 0 : (remainder * 10 + digit) % multiple.of;
  }

  #fractionDigits(state: NumberState): [number, number, NumberState][] {
    if (state.fraction >= MAX_DIGITS) return [];
    const { integer, multiple } = this.#range;
    const list = this.#list(state.negative);
    // Decimals of an integer are zeros, unless an exponent moves the point behind them.
    const zerosOnly =
      (integer && (multiple !== undefined || state.whole > 1 || state.zero)) ||
      (multiple !== undefined && state.fraction >= multiple.decimals);
    const plainRuns = this.#runs(state, (at) => at.exponent + state.fraction);
    const scientificRuns = this.#runs(state, () => state.fraction + 1);
    const runs = [...new Set([...plainRuns, ...scientificRuns])].sort((a, b) => a - b);
    const next = digits(runs, (digit): NumberState => {
      const fraction = state.fraction + 1;
      const plain = list.map(({ at }, i): Order => {
        if (state.plain[i]! !== 0) return state.plain[i]!;
        const index = at.exponent + state.fraction;
        return order(digit, index < 0 ? 0 : (at.digits[index] ?? 0));
      });
      const scientific = list.map(({ at }, i): Order => {
        if (state.whole > 1 || state.zero || state.scientific[i]! !== 0) return state.scientific[i]!;
        return order(digit, at.digits[fraction] ?? 0);
      });
      const remainder =
        multiple !== undefined && state.fraction < multiple.decimals
          ? this.#nextRemainder(state.remainder, digit)
          : state.remainder;
      const decimals = integer && digit !== 0 ? fraction : state.decimals;
      return { ...state, part: 'fraction', fraction, plain, scientific, remainder, decimals };
    });
    return zerosOnly ? next.slice(0, 1) : next;
  }

  #beginExponent(state: NumberState): [number, number, NumberState][] {
    if (state.whole !== 1 || state.zero || this.#range.multiple !== undefined) return [];
    const { from, to } = this.#bounds(state.negative)!;
    let lowest = this.#range.integer ? state.decimals : -MAX_EXPONENT;
    let highest = MAX_EXPONENT;
    const readDigits = state.whole + state.fraction;
    for (const [i, { at, exclusive }] of [...from, ...to].entries()) {
      const isFrom = i < from.length;
      if (at.digits.length === 0) {
        if (!isFrom) return []; // nothing but 0, which has no such form
        continue;
      }
      const read = state.scientific[i]!;
      const mantissa = read === 0 && readDigits < at.digits.length ? -1 : read;
      // The bound is d₁.d₂… × 10^(exponent - 1).
      const at10 = at.exponent - 1;
      if (isFrom) lowest = Math.max(lowest, mantissa > (exclusive ? 0 : -1) ? at10 : at10 + 1);
      else highest = Math.min(highest, mantissa < (exclusive ? 0 : 1) ? at10 : at10 - 1);
    }
    if (lowest > highest) return [];
    const after: NumberState = { ...START, part: 'sign', lowest, highest };
    return [
      [0x45, 0x45, after],
      [0x65, 0x65, after],
    ];
  }

  #exponentDigits(state: NumberState): [number, number, NumberState][] {
    const next: [number, number, NumberState][] = [];
    if (state.part === 'sign' && state.exponentDigits === 0 && !state.exponentNegative) {
      if (state.highest >= 0) next.push([0x2b, 0x2b, { ...state, exponentDigits: -1 }]);
      if (state.lowest <= 0) next.push([0x2d, 0x2d, { ...state, exponentDigits: -1, exponentNegative: true }]);
    }
    const read = Math.max(state.exponentDigits, 0);
    if (state.exponentRest === 'none') return next;
    next.push(
      ...digits(state.exponentRest === 'all' ? [0] : EVERY_DIGIT, (digit): NumberState => {
        const exponent = state.exponent * 10 + digit;
        return this.#clipped({ ...state, part: 'exponent', exponent, exponentDigits: read + 1 });
      }),
    );
    return next;
  }

  /** The digits matter only where the bounds run through what they can become: elsewhere hundreds of states are one. */
  #clipped(state: NumberState): NumberState {
    const { exponent, exponentDigits, exponentNegative, exponentRest } = state;
    const [low, high] = exponentNegative ? [-state.highest, -state.lowest] : [state.lowest, state.highest];
    const left = MAX_EXPONENT_DIGITS - exponentDigits;
    const [least, most] = [exponent * 10, (exponent + 1) * 10 ** left - 1];
    const isInside = (value: number) => value >= low && value <= high;
    const exponentEnds = exponentRest === 'all' || isInside(exponent);
    const one = { ...START, part: 'exponent', exponentDigits, exponentEnds } as const;
    if (left === 0 || least > high || most < low) return { ...one, exponentRest: 'none' };
    if (exponentRest === 'all' || (least >= low && most <= high)) return { ...one, exponentRest: 'all' };
    return { ...state, exponentEnds };
  }
}

function wholeLength({ exponent }: Decimal): number {
  return Math.max(exponent, 0);
}

function order(digit: number, bound: number): Order {
  return digit < bound ? -1 : digit > bound ? 1 : 0;
}

/** Transitions of the digits, those that lead to the same place together. @param runs first digit of each such group */
function digits(runs: readonly number[], next: (digit: number) => NumberState): [number, number, NumberState][] {
  return runs.map((digit, i) => [ZERO + digit, i + 1 < runs.length ? ZERO + runs[i + 1]! - 1 : NINE, next(digit)]);
}

const EVERY_DIGIT = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
