/** The bytes of every token as one tree, so that tokens with the same beginning are walked once. */

/** What a tree is made from: `Tokenizer` has it. */
export interface TokenBytes {
  readonly vocabularySize: number;
  /** Empty for special tokens: they write nothing and are never part of an answer. */
  bytesOf(id: number): Uint8Array;
}

const QUOTE = 0x22;
const COMMA = 0x2c;

/** Nodes in depth-first order; node 0 is the root. */
export class TokenTrie {
  readonly vocabularySize: number;
  /** Words of 32 bits that a mask has. */
  readonly maskWords: number;
  readonly nodeCount: number;
  /** Last byte on the way to the node. */
  readonly bytes: Uint8Array;
  readonly depths: Uint16Array;
  /** First node that is not below this one. */
  readonly ends: Int32Array;
  readonly parents: Int32Array;
  /** A token that ends at the node, -1 for none; others with the same bytes by `nextToken`. */
  readonly tokens: Int32Array;
  readonly nextToken: Int32Array;
  /** Node at which a token ends, -1 for those that write nothing. */
  readonly nodeOfToken: Int32Array;
  readonly maxDepth: number;
  /** Nodes at which `,"` has been read, and not before: below them stands what begins the name of a further property. */
  readonly nameStarts: Int32Array;

  constructor(source: TokenBytes) {
    this.vocabularySize = source.vocabularySize;
    this.maskWords = Math.ceil(source.vocabularySize / 32);
    const texts: { readonly text: string; readonly id: number }[] = [];
    let total = 0;
    for (let id = 0; id < source.vocabularySize; id++) {
      const bytes = source.bytesOf(id);
      if (bytes.length === 0) continue;
      total += bytes.length;
      texts.push({ text: Buffer.from(bytes).toString('latin1'), id });
    }
    texts.sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : a.id - b.id));
    const bytes = new Uint8Array(total + 1);
    const depths = new Uint16Array(total + 1);
    const parents = new Int32Array(total + 1);
    const tokens = new Int32Array(total + 1).fill(-1);
    this.nextToken = new Int32Array(source.vocabularySize).fill(-1);
    this.nodeOfToken = new Int32Array(source.vocabularySize).fill(-1);
    const path = [0];
    let previous = '';
    let count = 1;
    for (const { text, id } of texts) {
      let common = 0;
      while (common < previous.length && common < text.length && previous[common] === text[common]) common++;
      for (let depth = common; depth < text.length; depth++) {
        bytes[count] = text.charCodeAt(depth);
        depths[count] = depth + 1;
        parents[count] = path[depth]!;
        path[depth + 1] = count++;
      }
      const node = path[text.length]!;
      this.nextToken[id] = tokens[node]!;
      tokens[node] = id;
      this.nodeOfToken[id] = node;
      previous = text;
    }
    this.nodeCount = count;
    this.bytes = bytes.slice(0, count);
    this.depths = depths.slice(0, count);
    this.parents = parents.slice(0, count);
    this.tokens = tokens.slice(0, count);
    this.ends = new Int32Array(count);
    let maxDepth = 0;
    for (let node = count - 1; node >= 0; node--) {
      maxDepth = Math.max(maxDepth, this.depths[node]!);
      this.ends[node] = Math.max(this.ends[node]!, node + 1);
      const parent = this.parents[node]!;
      if (node > 0) this.ends[parent] = Math.max(this.ends[parent]!, this.ends[node]!);
    }
    this.maxDepth = maxDepth;
    const nameStarts: number[] = [];
    for (let node = 1; node < count; ) {
      const isStart = this.bytes[node] === QUOTE && this.depths[node]! > 1 && this.bytes[this.parents[node]!] === COMMA;
      if (isStart) nameStarts.push(node);
      node = isStart ? this.ends[node]! : node + 1;
    }
    this.nameStarts = Int32Array.from(nameStarts);
  }

  /** Bytes on the way to a node, as Latin-1. */
  textOf(node: number): string {
    let text = '';
    for (let at = node; at > 0; at = this.parents[at]!) text = String.fromCharCode(this.bytes[at]!) + text;
    return text;
  }

  /** Adds the tokens that end at a node to a mask. */
  mark(node: number, mask: Uint32Array): void {
    for (let token = this.tokens[node]!; token !== -1; token = this.nextToken[token]!)
      mask[token >> 5]! |= 1 << (token & 31);
  }
}
