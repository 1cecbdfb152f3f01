/** Self-attention keys and values of one sequence. Tokens past the sequence's length are left over and never read. */

/** Tokens of the first allocation; doubled when full. */
const FIRST_CAPACITY = 256;

export interface KeyValueShape {
  readonly layers: readonly number[];
  readonly keyValueHeads: number;
  readonly headDim: number;
  readonly contextLength: number;
}

export class KeyValueCache {
  readonly #shape: KeyValueShape;
  #capacity = 0;
  #keys = new Map<number, Float32Array>();
  #values = new Map<number, Float32Array>();

  constructor(shape: KeyValueShape) {
    this.#shape = shape;
  }

  /** Tokens that fit without growing. */
  get capacity(): number {
    return this.#capacity;
  }

  /** `[kvHeads, capacity, headDim]`. */
  key(layer: number): Float32Array {
    return this.#keys.get(layer)!;
  }

  value(layer: number): Float32Array {
    return this.#values.get(layer)!;
  }

  /** Makes room for `tokens` tokens; the first `valid` are kept. */
  reserve(tokens: number, valid: number): void {
    if (tokens <= this.#capacity) return;
    let capacity = Math.max(this.#capacity, FIRST_CAPACITY);
    while (capacity < tokens) capacity *= 2;
    capacity = Math.max(tokens, Math.min(capacity, this.#shape.contextLength));
    for (const layer of this.#shape.layers) {
      this.#keys.set(layer, this.#grown(this.#keys.get(layer), capacity, valid));
      this.#values.set(layer, this.#grown(this.#values.get(layer), capacity, valid));
    }
    this.#capacity = capacity;
  }

  /** Writes `key`, `value` `[kvHeads, tokens, headDim]` of new tokens from `position` on. */
  write(layer: number, position: number, tokens: number, key: Float32Array, value: Float32Array): void {
    this.#writeTokens(this.key(layer), position, tokens, key);
    this.#writeTokens(this.value(layer), position, tokens, value);
  }

  #writeTokens(cache: Float32Array, position: number, tokens: number, added: Float32Array): void {
    const { keyValueHeads, headDim } = this.#shape;
    for (let head = 0; head < keyValueHeads; head++) {
      const source = added.subarray(head * tokens * headDim, (head + 1) * tokens * headDim);
      cache.set(source, (head * this.#capacity + position) * headDim);
    }
  }

  #grown(old: Float32Array | undefined, capacity: number, valid: number): Float32Array {
    const { keyValueHeads, headDim } = this.#shape;
    const grown = new Float32Array(keyValueHeads * capacity * headDim);
    for (let head = 0; old !== undefined && head < keyValueHeads; head++) {
      const from = head * this.#capacity * headDim;
      grown.set(old.subarray(from, from + valid * headDim), head * capacity * headDim);
    }
    return grown;
  }
}
