/**
 * Patterns to automata. A pattern is searched for, not matched: what is accepted is any text that has it somewhere.
 * Built from the end, so that what follows a lookahead is known where it stands.
 */
import { ALL_CODE_POINTS, complementDfa, type Dfa, intersectDfa, isEmptyDfa } from '../automata/dfa.js';
import { Nfa } from '../automata/nfa.js';
import { PatternError, type PatternNode, parsePattern } from './syntax.js';

const cache = new Map<string, Dfa>();
const MAX_CACHED = 128;

/** @throws PatternError */
export function dfaOfPattern(source: string): Dfa {
  let dfa = cache.get(source);
  if (dfa === undefined) {
    if (cache.size >= MAX_CACHED) cache.clear();
    dfa = compileWhole(parsePattern(source));
    cache.set(source, dfa);
  }
  return dfa;
}

/** Lookaheads right after ^ speak of the whole text: each is an automaton of its own, and all must accept. */
function compileWhole(pattern: PatternNode): Dfa {
  if (pattern.kind !== 'sequence' || pattern.parts[0]?.kind !== 'start') return compile(pattern);
  const [start, ...parts] = pattern.parts;
  const count = parts.findIndex(({ kind }) => kind !== 'look');
  const looks = parts.slice(0, count === -1 ? parts.length : count) as (PatternNode & { kind: 'look' })[];
  const rest = compile({ kind: 'sequence', parts: [start!, ...parts.slice(looks.length)] });
  return looks.reduce((dfa, { body, negative }) => {
    const ahead = compile({ kind: 'sequence', parts: [start!, body] });
    return intersectDfa(dfa, negative ? complementDfa(ahead) : ahead);
  }, rest);
}

function compile(pattern: PatternNode): Dfa {
  const builder = new Builder();
  const { nfa, accept } = builder;
  const rest = builder.anything(accept);
  const start = nfa.state();
  nfa.empty(start, builder.before(pattern, rest, true));
  // Further on in the text, where ^ does not match.
  const skipping = nfa.state();
  nfa.move(start, ALL_CODE_POINTS, skipping);
  nfa.move(skipping, ALL_CODE_POINTS, skipping);
  nfa.empty(skipping, builder.before(pattern, rest, false));
  return nfa.toDfa(start, accept);
}

class Builder {
  readonly nfa = new Nfa();
  readonly accept = this.nfa.state();

  /** Any text, then on at `next`. */
  anything(next: number): number {
    const state = this.nfa.state();
    this.nfa.move(state, ALL_CODE_POINTS, state);
    this.nfa.empty(state, next);
    return state;
  }

  /** State from which the node is read, then what is read from `next` to the end of the text. */
  before(node: PatternNode, next: number, atStart: boolean): number {
    const { nfa } = this;
    switch (node.kind) {
      case 'set': {
        const state = nfa.state();
        nfa.move(state, node.intervals, next);
        return state;
      }
      case 'start':
        return atStart ? next : nfa.state();
      case 'end':
        // What follows must match nothing at all: no more may come.
        return nfa.acceptsEmpty(next, this.accept) ? this.accept : nfa.state();
      case 'sequence':
        return this.#sequence(node.parts, next, atStart);
      case 'choice': {
        const state = nfa.state();
        for (const option of node.options) nfa.empty(state, this.before(option, next, atStart));
        return state;
      }
      case 'repeat':
        return this.#repeat(node, next, atStart);
      case 'look':
        return this.#look(node, next, atStart);
    }
  }

  #sequence(parts: readonly PatternNode[], next: number, atStart: boolean): number {
    const starts: boolean[] = [];
    let still = atStart;
    for (const part of parts) {
      starts.push(still);
      if (still && !isWidthless(part)) {
        if (isNullable(part) && parts.slice(starts.length).some(hasStart)) {
          throw new PatternError('a ^ after something that may be empty');
        }
        still = false;
      }
    }
    return parts.reduceRight((state, part, i) => this.before(part, state, starts[i]!), next);
  }

  #repeat({ body, min, max }: PatternNode & { kind: 'repeat' }, next: number, atStart: boolean): number {
    const { nfa } = this;
    if (hasStart(body)) throw new PatternError('a ^ inside a repetition');
    let state = next;
    if (max === Number.POSITIVE_INFINITY) {
      if (hasLookOrEnd(body)) throw new PatternError('a lookahead or $ inside a repetition without end');
      const loop = nfa.state();
      nfa.empty(loop, next);
      nfa.empty(loop, this.before(body, loop, false));
      state = loop;
    } else {
      for (let i = min; i < max; i++) {
        const optional = nfa.state();
        nfa.empty(optional, next);
        nfa.empty(optional, this.before(body, state, false));
        state = optional;
      }
    }
    for (let i = 0; i < min; i++) state = this.before(body, state, atStart && i === min - 1);
    return state;
  }

  #look({ body, negative }: PatternNode & { kind: 'look' }, next: number, atStart: boolean): number {
    const { nfa } = this;
    const ahead = nfa.toDfa(this.before(body, this.anything(this.accept), atStart), this.accept);
    const rest = nfa.toDfa(next, this.accept);
    const both = intersectDfa(rest, negative ? complementDfa(ahead) : ahead);
    return isEmptyDfa(both) ? nfa.state() : nfa.embed(both, this.accept);
  }
}

function isWidthless(node: PatternNode): boolean {
  switch (node.kind) {
    case 'start':
    case 'end':
    case 'look':
      return true;
    case 'sequence':
      return node.parts.every(isWidthless);
    case 'choice':
      return node.options.every(isWidthless);
    case 'repeat':
      return node.max === 0 || isWidthless(node.body);
    case 'set':
      return false;
  }
}

function isNullable(node: PatternNode): boolean {
  switch (node.kind) {
    case 'set':
      return false;
    case 'sequence':
      return node.parts.every(isNullable);
    case 'choice':
      return node.options.some(isNullable);
    case 'repeat':
      return node.min === 0 || isNullable(node.body);
    default:
      return true;
  }
}

function hasStart(node: PatternNode): boolean {
  return contains(node, ({ kind }) => kind === 'start');
}

function hasLookOrEnd(node: PatternNode): boolean {
  return contains(node, ({ kind }) => kind === 'look' || kind === 'end');
}

function contains(node: PatternNode, is: (node: PatternNode) => boolean): boolean {
  if (is(node)) return true;
  switch (node.kind) {
    case 'sequence':
      return node.parts.some((part) => contains(part, is));
    case 'choice':
      return node.options.some((option) => contains(option, is));
    case 'repeat':
    case 'look':
      return contains(node.body, is);
    default:
      return false;
  }
}
