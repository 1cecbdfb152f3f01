/** ECMAScript patterns, as JSON Schema takes them (`u` mode, no flags), to a tree. */
import { ALL_CODE_POINTS, type Interval, LAST_CODE_POINT } from '../automata/dfa.js';
import { intersectSets, invertSet, normalizedSet, propertySet } from './character-sets.js';

export type PatternNode =
  | { readonly kind: 'set'; readonly intervals: readonly Interval[] }
  | { readonly kind: 'sequence'; readonly parts: readonly PatternNode[] }
  | { readonly kind: 'choice'; readonly options: readonly PatternNode[] }
  | { readonly kind: 'repeat'; readonly body: PatternNode; readonly min: number; readonly max: number }
  | { readonly kind: 'look'; readonly body: PatternNode; readonly negative: boolean }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' };

/** Why a pattern is refused; the caller knows where it stands. */
export class PatternError extends Error {
  override readonly name = 'PatternError';
}

const DIGITS: readonly Interval[] = [[0x30, 0x39]];
const WORD: readonly Interval[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const SPACE: readonly Interval[] = [
  [0x9, 0xd],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: readonly Interval[] = [
  [0xa, 0xa],
  [0xd, 0xd],
  [0x2028, 0x2029],
];
const CONTROL_ESCAPES: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, '0': 0 };
const MAX_DEPTH = 200;
const MAX_REPEAT = 10_000;

/** @throws PatternError for what is no regular language, or no pattern at all */
export function parsePattern(source: string): PatternNode {
  return new Parser(source).parse();
}

class Parser {
  readonly #characters: readonly string[];
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#characters = Array.from(source);
  }

  parse(): PatternNode {
    const node = this.#choice();
    if (this.#at < this.#characters.length) throw new PatternError('a ")" without its "("');
    return node;
  }

  get #next(): string | undefined {
    return this.#characters[this.#at];
  }

  #take(text: string): boolean {
    for (const [i, character] of Array.from(text).entries())
      if (this.#characters[this.#at + i] !== character) return false;
    this.#at += text.length;
    return true;
  }

  #choice(): PatternNode {
    if (++this.#depth > MAX_DEPTH) throw new PatternError(`groups nested more than ${MAX_DEPTH} deep`);
    const options = [this.#sequence()];
    while (this.#take('|')) options.push(this.#sequence());
    this.#depth--;
    return options.length === 1 ? options[0]! : { kind: 'choice', options };
  }

  #sequence(): PatternNode {
    const parts: PatternNode[] = [];
    while (this.#next !== undefined && this.#next !== '|' && this.#next !== ')') parts.push(this.#quantified());
    return parts.length === 1 ? parts[0]! : { kind: 'sequence', parts };
  }

  #quantified(): PatternNode {
    const body = this.#atom();
    const bounds = this.#quantifier();
    if (bounds === undefined) return body;
    if (body.kind === 'start' || body.kind === 'end' || body.kind === 'look') {
      throw new PatternError('a quantifier after something that has no width');
    }
    this.#take('?'); // lazy: which text is taken first makes no difference to whether there is one
    if (this.#next === '*' || this.#next === '+' || this.#next === '?')
      throw new PatternError('two quantifiers in a row');
    return { kind: 'repeat', body, ...bounds };
  }

  #quantifier(): { min: number; max: number } | undefined {
    if (this.#take('*')) return { min: 0, max: Number.POSITIVE_INFINITY };
    if (this.#take('+')) return { min: 1, max: Number.POSITIVE_INFINITY };
    if (this.#take('?')) return { min: 0, max: 1 };
    if (this.#next !== '{') return undefined;
    const rest = this.#characters.slice(this.#at, this.#at + 24).join('');
    const found = /^\{(\d+)(?:(,)(\d*))?\}/.exec(rest);
    if (found === null) throw new PatternError('a "{" that begins no quantifier');
    this.#at += found[0].length;
    const min = Number(found[1]);
    const max = found[2] === undefined ? min : found[3] === '' ? Number.POSITIVE_INFINITY : Number(found[3]);
    if (max < min) throw new PatternError(`the quantifier ${found[0]}, whose numbers are out of order`);
    if (Math.max(min, Number.isFinite(max) ? max : 0) > MAX_REPEAT) {
      throw new PatternError(`the quantifier ${found[0]} of more than ${MAX_REPEAT}`);
    }
    return { min, max };
  }

  #atom(): PatternNode {
    const character = this.#next!;
    this.#at++;
    switch (character) {
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '.':
        return set(invertSet(LINE_ENDS));
      case '(':
        return this.#group();
      case '[':
        return set(this.#class());
      case '\\':
        return this.#escape();
      case '*':
      case '+':
      case '?':
      case '{':
        throw new PatternError(`the quantifier "${character}" with nothing before it`);
      case '}':
      case ']':
        throw new PatternError(`a lone "${character}"`);
      default:
        return set(single(character.codePointAt(0)!));
    }
  }

  #group(): PatternNode {
    let look: boolean | undefined;
    if (this.#take('?')) {
      if (this.#take('=')) look = false;
      else if (this.#take('!')) look = true;
      else if (this.#take('<=') || this.#take('<!')) throw new PatternError('a lookbehind');
      else if (this.#take('<')) this.#groupName();
      else if (!this.#take(':')) throw new PatternError('an unknown kind of group, "(?"');
    }
    const body = this.#choice();
    if (!this.#take(')')) throw new PatternError('a "(" without its ")"');
    return look === undefined ? body : { kind: 'look', body, negative: look };
  }

  #groupName(): void {
    while (this.#next !== undefined && this.#next !== '>') this.#at++;
    if (!this.#take('>')) throw new PatternError('a group name without its ">"');
  }

  #escape(): PatternNode {
    const character = this.#next;
    if (character === undefined) throw new PatternError('a "\\" at the end');
    if (character === 'b' || character === 'B') throw new PatternError(`the word boundary \\${character}`);
    if (character === 'k' || /[1-9]/.test(character)) throw new PatternError(`the back reference \\${character}`);
    return set(this.#setEscape());
  }

  /** After the backslash, inside or outside of a class. */
  #setEscape(): readonly Interval[] {
    const character = this.#next;
    if (character === undefined) throw new PatternError('a "\\" at the end');
    this.#at++;
    switch (character) {
      case 'd':
        return DIGITS;
      case 'D':
        return invertSet(DIGITS);
      case 'w':
        return WORD;
      case 'W':
        return invertSet(WORD);
      case 's':
        return SPACE;
      case 'S':
        return invertSet(SPACE);
      case 'p':
      case 'P':
        return this.#property(character === 'P');
      case 'x':
        return single(this.#hex(2));
      case 'u':
        return single(this.#unicodeEscape());
      case 'c': {
        const letter = this.#next;
        if (letter === undefined || !/[A-Za-z]/.test(letter)) throw new PatternError('\\c without a letter');
        this.#at++;
        return single(letter.charCodeAt(0) % 32);
      }
      case '0':
        if (this.#next !== undefined && /\d/.test(this.#next)) throw new PatternError('an octal escape');
        return single(0);
    }
    const control = CONTROL_ESCAPES[character];
    if (control !== undefined) return single(control);
    if (/[A-Za-z0-9]/.test(character)) throw new PatternError(`the unknown escape \\${character}`);
    return single(character.codePointAt(0)!);
  }

  #property(inverted: boolean): readonly Interval[] {
    const rest = this.#characters.slice(this.#at, this.#at + 80).join('');
    const found = /^\{([A-Za-z_]+(?:=[A-Za-z0-9_]+)?)\}/.exec(rest);
    if (found === null) throw new PatternError('\\p without {…}');
    this.#at += found[0].length;
    const property = propertySet(found[1]!);
    if (property === undefined) throw new PatternError(`the unknown property \\p${found[0]}`);
    return inverted ? invertSet(property) : property;
  }

  #unicodeEscape(): number {
    if (this.#take('{')) {
      const start = this.#at;
      while (this.#next !== undefined && this.#next !== '}') this.#at++;
      const text = this.#characters.slice(start, this.#at).join('');
      const codePoint = /^[0-9a-fA-F]+$/.test(text) ? Number.parseInt(text, 16) : Number.NaN;
      if (!this.#take('}') || !(codePoint <= LAST_CODE_POINT)) throw new PatternError('\\u{…} that names no character');
      return codePoint;
    }
    const high = this.#hex(4);
    if (high < 0xd800 || high > 0xdbff) return high;
    const before = this.#at;
    if (this.#take('\\u') && this.#next !== '{') {
      const low = this.#hex(4);
      if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + (high - 0xd800) * 0x400 + low - 0xdc00;
    }
    this.#at = before;
    return high;
  }

  #hex(length: number): number {
    const text = this.#characters.slice(this.#at, this.#at + length).join('');
    if (text.length !== length || !/^[0-9a-fA-F]+$/.test(text))
      throw new PatternError('an escape without its hexadecimal digits');
    this.#at += length;
    return Number.parseInt(text, 16);
  }

  #class(): readonly Interval[] {
    const inverted = this.#take('^');
    const intervals: Interval[] = [];
    while (!this.#take(']')) {
      const from = this.#classAtom();
      if (
        this.#next === '-' &&
        this.#characters[this.#at + 1] !== ']' &&
        this.#characters[this.#at + 1] !== undefined
      ) {
        this.#at++;
        const to = this.#classAtom();
        if (from.point === undefined || to.point === undefined)
          throw new PatternError('a range between things that are no single characters');
        if (to.point < from.point) throw new PatternError('a range whose ends are out of order');
        intervals.push([from.point, to.point]);
      } else intervals.push(...from.intervals);
    }
    const all = intersectSets(normalizedSet(intervals), ALL_CODE_POINTS);
    return inverted ? invertSet(all) : all;
  }

  #classAtom(): { readonly intervals: readonly Interval[]; readonly point: number | undefined } {
    const character = this.#next;
    if (character === undefined) throw new PatternError('a "[" without its "]"');
    this.#at++;
    if (character !== '\\') return atomOf(single(character.codePointAt(0)!));
    if (this.#take('b')) return atomOf(single(8));
    return atomOf(this.#setEscape());
  }
}

function atomOf(intervals: readonly Interval[]) {
  const [first] = intervals;
  const point = intervals.length === 1 && first![0] === first![1] ? first![0] : undefined;
  return { intervals, point };
}

function set(intervals: readonly Interval[]): PatternNode {
  return { kind: 'set', intervals: intersectSets(intervals, ALL_CODE_POINTS) };
}

function single(codePoint: number): readonly Interval[] {
  return [[codePoint, codePoint]];
}
