/** A grammar for one vocabulary: which tokens may come, at every point of an answer. */
import { Buffer } from 'node:buffer';
import type { Grammar } from '../rules.js';
import { KeyState } from './key-leaf.js';
import { type Configuration, Machine, type MatchState } from './machine.js';
import { Partitions } from './partition.js';
import type { TokenTrie } from './token-trie.js';

const MAX_MASKS = 256;

/** Shared by all generations with the schema; what one computes the others find. */
export class TokenGrammar {
  readonly trie: TokenTrie;
  readonly start: MatchState;
  readonly #machine: Machine;
  readonly #partitions: Partitions;
  /** States that hold a mask, the oldest first. */
  readonly #masked = new Set<MatchState>();
  /** By shapes of configurations, the oldest first. */
  readonly #shared = new Map<string, Uint32Array>();

  /** @param partitions of the vocabulary; they serve several grammars */
  constructor(grammar: Grammar, trie: TokenTrie, partitions = new Partitions(trie)) {
    this.trie = trie;
    this.#partitions = partitions;
    this.#machine = new Machine(grammar);
    this.start = this.#machine.start();
  }

  /** Bit `token & 31` of word `token >> 5` is set where the token may come. Belongs to the state: read only. */
  maskOf(state: MatchState): Uint32Array {
    if (state.mask !== undefined) {
      this.#masked.delete(state);
      this.#masked.add(state);
      return state.mask;
    }
    const mask = this.#machine.hasFreeNames ? this.#maskWithNames(state) : this.#maskOfAll(state.configurations);
    if (this.#masked.size >= MAX_MASKS) {
      const [oldest] = this.#masked;
      oldest!.mask = undefined;
      this.#masked.delete(oldest!);
    }
    state.mask = mask;
    this.#masked.add(state);
    return mask;
  }

  /** State after a token; null where it may not come. */
  after(state: MatchState, token: number): MatchState | null {
    const node = this.trie.nodeOfToken[token] ?? -1;
    if (node === -1) return null;
    return this.#afterNode(state, node);
  }

  #afterNode(state: MatchState, node: number): MatchState | null {
    const before = this.trie.parents[node]!;
    const previous = before === 0 ? state : this.#afterNode(state, before);
    return previous === null ? null : previous.step(this.trie.bytes[node]!);
  }

  #maskOfAll(configurations: readonly Configuration[]): Uint32Array {
    const mask = new Uint32Array(this.trie.maskWords);
    for (const configuration of configurations) this.#add(configuration, mask);
    return mask;
  }

  /**
   * Names that were used make a state that has never been before of nearly every token. But they matter only to tokens
   * that go on writing a name: all others are found once for each shape, those few for each state.
   */
  #maskWithNames(state: MatchState): Uint32Array {
    const mask = new Uint32Array(this.trie.maskWords);
    for (const configuration of state.configurations) {
      const { leaf } = configuration;
      const closed = leaf instanceof KeyState ? this.#closedNodes(leaf) : [];
      let own = this.#ofShape(configuration);
      if (closed.length > 0) own = own.slice();
      for (const root of closed) this.#clearBelow(root, own);
      for (let i = 0; i < mask.length; i++) mask[i]! |= own[i]!;
    }
    for (const root of this.trie.nameStarts) {
      const after = this.#afterNode(state, root);
      if (after === null) continue;
      this.trie.mark(root, mask);
      this.#addBelow(root, after, mask);
    }
    return mask;
  }

  /** As if no name were used. */
  #ofShape(configuration: Configuration): Uint32Array {
    let mask = this.#shared.get(configuration.shape);
    if (mask === undefined) {
      mask = this.#maskOfAll([configuration]);
      for (const root of this.trie.nameStarts) this.#clearBelow(root, mask);
      if (this.#shared.size >= MAX_MASKS) this.#shared.delete(this.#shared.keys().next().value!);
    } else this.#shared.delete(configuration.shape);
    this.#shared.set(configuration.shape, mask); // the newest is last
    return mask;
  }

  #add({ leaf, after }: Configuration, mask: Uint32Array): void {
    const { inside, exits } = this.#partitions.of(leaf instanceof KeyState ? leaf.base : leaf);
    for (let i = 0; i < mask.length; i++) mask[i]! |= inside[i]!;
    if (exits.length === 0) return;
    const following = this.#following({ leaf, after });
    if (following !== null) for (const exit of exits) this.#addBelow(exit, following, mask);
  }

  /** What comes after a leaf that is whole; null where nothing does. */
  #following(configuration: Pick<Configuration, 'leaf' | 'after'>): MatchState | null {
    const configurations = this.#machine.expand(this.#machine.exitOf(configuration));
    return configurations.length === 0 ? null : this.#machine.state(configurations);
  }

  /** Tokens below a node of the tree that go on as the state allows. */
  #addBelow(root: number, start: MatchState, mask: Uint32Array): void {
    const { bytes, depths, ends } = this.trie;
    const base = depths[root]! + 1;
    const states: MatchState[] = [];
    const end = ends[root]!;
    for (let node = root + 1; node < end; ) {
      const level = depths[node]! - base;
      const state = (level === 0 ? start : states[level - 1]!).step(bytes[node]!);
      if (state === null) {
        node = ends[node]!;
        continue;
      }
      states[level] = state;
      this.trie.mark(node, mask);
      node++;
    }
  }

  /** Topmost nodes of the tree where a used name leaves no way on. */
  #closedNodes(key: KeyState): number[] {
    const closed = new Set<number>();
    for (const name of key.used) {
      if (!name.startsWith(key.text)) continue;
      let node = 0;
      let state: KeyState | null = key;
      for (const byte of Buffer.from(name.slice(key.text.length), 'latin1')) {
        node = this.#child(node, byte);
        if (node === -1) break;
        state = state.step(byte) as KeyState | null;
        if (state === null) {
          closed.add(node);
          break;
        }
      }
    }
    return [...closed];
  }

  #child(parent: number, byte: number): number {
    const { bytes, ends } = this.trie;
    for (let node = parent + 1; node < ends[parent]!; node = ends[node]!) if (bytes[node] === byte) return node;
    return -1;
  }

  #clearBelow(root: number, mask: Uint32Array): void {
    for (let node = root; node < this.trie.ends[root]!; node++) {
      for (let token = this.trie.tokens[node]!; token !== -1; token = this.trie.nextToken[token]!) {
        mask[token >> 5]! &= ~(1 << (token & 31));
      }
    }
  }
}
