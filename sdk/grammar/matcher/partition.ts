/**
 * Tokens by what they do inside of a leaf: some stay in it, whatever comes after; some leave it, and what follows
 * decides about their rest. The first part is the same wherever the leaf stands, and is kept.
 */
import { type LengthUnit, UNIVERSAL_DFA } from '../automata/dfa.js';
import type { LeafState } from './leaf.js';
import { BoundaryState, type InsideState, startOfString } from './string-leaf.js';
import type { TokenTrie } from './token-trie.js';

export interface Partition {
  /** Tokens that end inside of the leaf, or with it. */
  readonly inside: Uint32Array;
  /** Nodes of the tree at which the leaf is whole, with more bytes below. */
  readonly exits: Int32Array;
}

/** @param visit called for each node inside, in order */
function walk(trie: TokenTrie, start: LeafState, visit: (node: number, state: LeafState) => void): void {
  const { bytes, depths, ends, nodeCount } = trie;
  const states: LeafState[] = [start];
  for (let node = 1; node < nodeCount; ) {
    const depth = depths[node]!;
    const state = states[depth - 1]!.step(bytes[node]!);
    if (state === null) {
      node = ends[node]!;
      continue;
    }
    states[depth] = state;
    visit(node, state);
    node++;
  }
}

/** By characters that a token has inside of a string: what a length leaves room for is looked up. */
interface FreeString {
  readonly tokens: Int32Array;
  /** Characters, one that has begun included. */
  readonly tokenWidths: Uint16Array;
  readonly exits: Int32Array;
  readonly exitWidths: Uint16Array;
  readonly longest: number;
}

const MAX_PARTITIONS = 512;

/** Partitions of the vocabulary, made when first asked for and shared by leaves of the same kind. */
export class Partitions {
  readonly #trie: TokenTrie;
  readonly #known = new Map<LeafState, Partition>();
  readonly #shared = new Map<string, Partition>();
  readonly #free = new Map<LengthUnit, FreeString>();

  constructor(trie: TokenTrie) {
    this.#trie = trie;
  }

  of(state: LeafState): Partition {
    let partition = this.#known.get(state);
    if (partition === undefined) {
      if (this.#known.size >= MAX_PARTITIONS) this.#known.delete(this.#known.keys().next().value!);
      partition = this.#ofCounted(state) ?? this.#ofAny(state);
    } else this.#known.delete(state);
    this.#known.set(state, partition); // the newest is last
    return partition;
  }

  #ofAny(start: LeafState): Partition {
    const trie = this.#trie;
    const inside = new Uint32Array(trie.maskWords);
    const exits: number[] = start.accepts ? [0] : [];
    walk(trie, start, (node, state) => {
      trie.mark(node, inside);
      if (state.accepts && trie.ends[node]! > node + 1) exits.push(node);
    });
    return { inside, exits: Int32Array.from(exits) };
  }

  /** Strings of all characters that have a length, between two characters; undefined for others. */
  #ofCounted(state: LeafState): Partition | undefined {
    if (!(state instanceof BoundaryState) || state.spec.canonical || !isUniversal(state.spec.dfa)) return undefined;
    const { lengthUnit, min, max } = state.spec;
    const free = this.#freeString(lengthUnit);
    const { count } = state.position;
    const room = Math.min(max - count, free.longest);
    const needed = Math.max(min - count, 0);
    const key = `${lengthUnit} ${room} ${Math.min(needed, free.longest + 1)}`;
    let partition = this.#shared.get(key);
    if (partition === undefined) {
      const trie = this.#trie;
      const inside = new Uint32Array(trie.maskWords);
      free.tokens.forEach((token, i) => {
        if (free.tokenWidths[i]! <= room) inside[token >> 5]! |= 1 << (token & 31);
      });
      const ends = (width: number) => width <= room && width >= needed;
      // Tokens that end with the closing quote are inside, where the length is right.
      const exits: number[] = [];
      free.exits.forEach((node, i) => {
        if (!ends(free.exitWidths[i]!)) return;
        trie.mark(node, inside);
        if (trie.ends[node]! > node + 1) exits.push(node);
      });
      partition = { inside, exits: Int32Array.from(exits) };
      if (this.#shared.size >= MAX_PARTITIONS) this.#shared.clear();
      this.#shared.set(key, partition);
    }
    return partition;
  }

  #freeString(lengthUnit: LengthUnit): FreeString {
    let free = this.#free.get(lengthUnit);
    if (free === undefined) {
      free = measureFreeString(this.#trie, lengthUnit);
      this.#free.set(lengthUnit, free);
    }
    return free;
  }
}

/** Whether an automaton accepts every string. */
function isUniversal({ accepts, lows, highs }: typeof UNIVERSAL_DFA): boolean {
  return (
    accepts.length === 1 &&
    accepts[0] === 1 &&
    lows.length === UNIVERSAL_DFA.lows.length &&
    lows.every((low, i) => low === UNIVERSAL_DFA.lows[i] && highs[i] === UNIVERSAL_DFA.highs[i])
  );
}

function measureFreeString(trie: TokenTrie, lengthUnit: LengthUnit): FreeString {
  // No token has as many characters, so states count them without end.
  const max = trie.maxDepth + 8;
  const start = startOfString({ dfa: UNIVERSAL_DFA, min: 0, max, lengthUnit, canonical: false }).step(0x22)!;
  const widths = new Uint16Array(trie.maxDepth + 1);
  const tokens: number[] = [];
  const tokenWidths: number[] = [];
  const exits: number[] = [];
  const exitWidths: number[] = [];
  let longest = 0;
  walk(trie, start, (node, state) => {
    const depth = trie.depths[node]!;
    const width = state instanceof BoundaryState ? state.position.count : widths[depth - 1]!;
    widths[depth] = width;
    if (state.accepts) {
      exits.push(node);
      exitWidths.push(width);
      return;
    }
    const needed = width + (state as InsideState).pendingWidth;
    longest = Math.max(longest, needed);
    for (let token = trie.tokens[node]!; token !== -1; token = trie.nextToken[token]!) {
      tokens.push(token);
      tokenWidths.push(needed);
    }
  });
  return {
    tokens: Int32Array.from(tokens),
    tokenWidths: Uint16Array.from(tokenWidths),
    exits: Int32Array.from(exits),
    exitWidths: Uint16Array.from(exitWidths),
    longest,
  };
}
