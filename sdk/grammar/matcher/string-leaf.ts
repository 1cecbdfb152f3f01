/**
 * A JSON string whose characters an automaton accepts, byte by byte: UTF-8, every escape that JSON has, surrogate pairs
 * among them. A part of a character or of an escape is only taken when some character that it can become leads on.
 */
import { type Dfa, LAST_CODE_POINT, type LengthUnit, leadsOn, nextState } from '../automata/dfa.js';
import { LeafState } from './leaf.js';

export interface StringSpec {
  readonly dfa: Dfa;
  /** Characters; beside automata of all texts only. */
  readonly min: number;
  readonly max: number;
  readonly lengthUnit: LengthUnit;
  /** As JSON.stringify writes it, so that equal texts have equal bytes: names of properties. */
  readonly canonical: boolean;
}

/** Strings of one specification; equal states are the same object. */
class StringMachine {
  readonly spec: StringSpec;
  readonly end = new EndState();
  readonly #states = new Map<string, LeafState>();

  constructor(spec: StringSpec) {
    this.spec = spec;
  }

  intern<S extends LeafState>(key: string, make: () => S): S {
    let state = this.#states.get(key) as S | undefined;
    if (state === undefined) {
      state = make();
      this.#states.set(key, state);
    }
    return state;
  }

  /** Between two characters. */
  boundary(position: Position): BoundaryState {
    return this.intern(`b ${position.state} ${position.count}`, () => new BoundaryState(this, position));
  }

  /** After a whole character; null when it does not belong. */
  after({ state, count }: Position, codePoint: number): LeafState | null {
    const next = nextState(this.spec.dfa, state, codePoint);
    const length = count + this.width(codePoint);
    if (next === -1 || length > this.spec.max) return null;
    // Without a longest length, how many there are beyond the shortest makes no difference.
    const counted = this.spec.max === Number.POSITIVE_INFINITY ? Math.min(length, this.spec.min) : length;
    return this.boundary({ state: next, count: counted });
  }

  /** Whether some character of low … high may come next. */
  canRead({ state, count }: Position, low: number, high: number): boolean {
    return count + this.width(low) <= this.spec.max && leadsOn(this.spec.dfa, state, low, high);
  }

  width(codePoint: number): number {
    return this.spec.lengthUnit === 'utf16' && codePoint > 0xffff ? 2 : 1;
  }
}

interface Position {
  /** Of the automaton. */
  readonly state: number;
  /** Characters so far. */
  readonly count: number;
}

export function startOfString(spec: StringSpec): LeafState {
  return new StartState(new StringMachine(spec));
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LETTER_U = 0x75;

/** After the closing quote. */
class EndState extends LeafState {
  readonly accepts = true;

  protected follow(): null {
    return null;
  }
}

/** Before the closing quote. */
export abstract class InsideState extends LeafState {
  readonly accepts = false;
  readonly machine: StringMachine;
  /** Least width of the character that has begun; 0 between characters. */
  readonly pendingWidth: number = 0;

  constructor(machine: StringMachine) {
    super();
    this.machine = machine;
  }
}

class StartState extends InsideState {
  protected follow(byte: number): LeafState | null {
    return byte === QUOTE ? this.machine.boundary({ state: 0, count: 0 }) : null;
  }
}

/** Characters that have an escape of one letter. */
const SHORT_ESCAPES: Readonly<Record<string, number>> = {
  '"': 0x22,
  '\\': 0x5c,
  '/': 0x2f,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
};
const CODE_POINT_OF_ESCAPE = new Map(
  Object.entries(SHORT_ESCAPES).map(([letter, codePoint]) => [letter.charCodeAt(0), codePoint]),
);
/** What JSON.stringify writes as \u00xx. */
const CANONICAL_HEX = Array.from({ length: 0x20 }, (_, i) => i).filter(
  (codePoint) => ![8, 9, 10, 12, 13].includes(codePoint),
);

/** Between two code points of a string, where it may also end. */
export class BoundaryState extends InsideState {
  readonly position: Position;

  constructor(machine: StringMachine, position: Position) {
    super(machine);
    this.position = position;
  }

  get spec(): StringSpec {
    return this.machine.spec;
  }

  protected follow(byte: number): LeafState | null {
    const { machine, position } = this;
    const { dfa, min } = machine.spec;
    if (byte === QUOTE) return dfa.accepts[position.state] === 1 && position.count >= min ? machine.end : null;
    if (byte === BACKSLASH) return this.#escape();
    if (byte < 0x20) return null;
    if (byte < 0x80) return machine.after(position, byte);
    if (byte < 0xc2 || byte > 0xf4) return null;
    const more = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    return utf8State(machine, position, { value: byte & (0x3f >> more), more, least: LEAST_OF_LENGTH[more]! });
  }

  #escape(): LeafState | null {
    const { machine, position } = this;
    const state = machine.intern(`e ${position.state} ${position.count}`, () => new EscapeState(machine, position));
    // Any escape at all?
    for (const byte of ESCAPE_LETTERS) if (state.step(byte) !== null) return state;
    return null;
  }
}

const ESCAPE_LETTERS = [...CODE_POINT_OF_ESCAPE.keys(), LETTER_U];
/** Smallest code point by continuation bytes: what is smaller must be written shorter. */
const LEAST_OF_LENGTH = [0, 0x80, 0x800, 0x10000];

interface Utf8Part {
  /** Bits so far. */
  readonly value: number;
  /** Continuation bytes to come. */
  readonly more: number;
  readonly least: number;
}

function utf8State(machine: StringMachine, position: Position, part: Utf8Part): LeafState | null {
  const { value, more, least } = part;
  const low = Math.max(value * 64 ** more, least);
  const high = Math.min((value + 1) * 64 ** more - 1, LAST_CODE_POINT);
  if (low > high || !machine.canRead(position, low, high)) return null;
  const key = `u ${position.state} ${position.count} ${value} ${more}`;
  return machine.intern(key, () => new Utf8State(machine, position, part));
}

class Utf8State extends InsideState {
  override readonly pendingWidth: number;
  readonly #position: Position;
  readonly #part: Utf8Part;

  constructor(machine: StringMachine, position: Position, part: Utf8Part) {
    super(machine);
    this.#position = position;
    this.#part = part;
    this.pendingWidth = machine.width(Math.max(part.value * 64 ** part.more, part.least));
  }

  protected follow(byte: number): LeafState | null {
    if ((byte & 0xc0) !== 0x80) return null;
    const { value, more, least } = this.#part;
    const next = value * 64 + (byte & 0x3f);
    if (more > 1) return utf8State(this.machine, this.#position, { value: next, more: more - 1, least });
    return next < least ? null : this.machine.after(this.#position, next);
  }
}

/** After a backslash. */
class EscapeState extends InsideState {
  override readonly pendingWidth = 1;
  readonly #position: Position;

  constructor(machine: StringMachine, position: Position) {
    super(machine);
    this.#position = position;
  }

  protected follow(byte: number): LeafState | null {
    if (byte === LETTER_U) return hexState(this.machine, this.#position, { value: 0, digits: 0, high: undefined });
    const codePoint = CODE_POINT_OF_ESCAPE.get(byte);
    if (codePoint === undefined || (this.machine.spec.canonical && codePoint === 0x2f)) return null;
    return this.machine.after(this.#position, codePoint);
  }
}

interface HexPart {
  readonly value: number;
  readonly digits: number;
  /** The high surrogate before. */
  readonly high: number | undefined;
}

function hexState(machine: StringMachine, position: Position, part: HexPart): LeafState | null {
  const { value, digits, high } = part;
  const span = 16 ** (4 - digits);
  const [first, last] = [value * span, (value + 1) * span - 1];
  if (!canBecome(machine, position, first, last, high)) return null;
  const key = `x ${position.state} ${position.count} ${value} ${digits} ${high}`;
  return machine.intern(key, () => new HexState(machine, position, part));
}

function canBecome(
  machine: StringMachine,
  position: Position,
  first: number,
  last: number,
  high: number | undefined,
): boolean {
  if (machine.spec.canonical) {
    return CANONICAL_HEX.some((each) => each >= first && each <= last && machine.canRead(position, each, each));
  }
  if (high !== undefined) {
    const [low, lowLast] = [Math.max(first, 0xdc00), Math.min(last, 0xdfff)];
    return low <= lowLast && machine.canRead(position, pairOf(high, low), pairOf(high, lowLast));
  }
  if (machine.canRead(position, first, last)) return true; // surrogates lead nowhere by themselves
  const [highFirst, highLast] = [Math.max(first, 0xd800), Math.min(last, 0xdbff)];
  return highFirst <= highLast && machine.canRead(position, pairOf(highFirst, 0xdc00), pairOf(highLast, 0xdfff));
}

function pairOf(high: number, low: number): number {
  return 0x10000 + (high - 0xd800) * 0x400 + (low - 0xdc00);
}

class HexState extends InsideState {
  override readonly pendingWidth: number;
  readonly #position: Position;
  readonly #part: HexPart;

  constructor(machine: StringMachine, position: Position, part: HexPart) {
    super(machine);
    this.#position = position;
    this.#part = part;
    const { value, digits, high } = part;
    const span = 16 ** (4 - digits);
    const onlyPairs = high !== undefined || (value * span >= 0xd800 && (value + 1) * span <= 0xdc00);
    this.pendingWidth = machine.width(onlyPairs ? LAST_CODE_POINT : 0);
  }

  protected follow(byte: number): LeafState | null {
    const digit = hexDigit(byte, this.machine.spec.canonical);
    if (digit === -1) return null;
    const { machine } = this;
    const { digits, high } = this.#part;
    const value = this.#part.value * 16 + digit;
    if (digits < 3) return hexState(machine, this.#position, { value, digits: digits + 1, high });
    if (!canBecome(machine, this.#position, value, value, high)) return null;
    if (high !== undefined) return machine.after(this.#position, pairOf(high, value));
    if (value >= 0xd800 && value <= 0xdbff) {
      const key = `p ${this.#position.state} ${this.#position.count} ${value}`;
      return machine.intern(key, () => new PairState(machine, this.#position, value, BACKSLASH));
    }
    return machine.after(this.#position, value);
  }
}

/** Between a high surrogate and the `\u` of the low one. */
class PairState extends InsideState {
  override readonly pendingWidth: number;
  readonly #position: Position;
  readonly #high: number;
  readonly #expected: number;

  constructor(machine: StringMachine, position: Position, high: number, expected: number) {
    super(machine);
    this.#position = position;
    this.#high = high;
    this.#expected = expected;
    this.pendingWidth = machine.width(LAST_CODE_POINT);
  }

  protected follow(byte: number): LeafState | null {
    if (byte !== this.#expected) return null;
    const { machine } = this;
    if (byte === BACKSLASH) return new PairState(machine, this.#position, this.#high, LETTER_U);
    return hexState(machine, this.#position, { value: 0, digits: 0, high: this.#high });
  }
}

function hexDigit(byte: number, canonical: boolean): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  if (byte >= 0x61 && byte <= 0x66) return byte - 0x57;
  return byte >= 0x41 && byte <= 0x46 && !canonical ? byte - 0x37 : -1;
}
