/** Self-attention keys and values of one sequence. Rows past the sequence's length are left over and never read. */

/** Rows of the first allocation; doubled when full. */
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

  /** Rows that fit without growing. */
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

  /** Makes room for `rows` rows; the first `valid` are kept. */
  reserve(rows: number, valid: number): void {
    if (rows <= this.#capacity) return;
    let capacity = Math.max(this.#capacity, FIRST_CAPACITY);
    while (capacity < rows) capacity *= 2;
    capacity = Math.max(rows, Math.min(capacity, this.#shape.contextLength));
    for (const layer of this.#shape.layers) {
      this.#keys.set(layer, this.#grown(this.#keys.get(layer), capacity, valid));
      this.#values.set(layer, this.#grown(this.#values.get(layer), capacity, valid));
    }
    this.#capacity = capacity;
  }

  /** Writes `key`, `value` `[kvHeads, rows, headDim]` of new rows from `position` on. */
  write(layer: number, position: number, rows: number, key: Float32Array, value: Float32Array): void {
    this.#writeRows(this.key(layer), position, rows, key);
    this.#writeRows(this.value(layer), position, rows, value);
  }

  #writeRows(cache: Float32Array, position: number, rows: number, added: Float32Array): void {
    const { keyValueHeads, headDim } = this.#shape;
    for (let head = 0; head < keyValueHeads; head++) {
      const source = added.subarray(head * rows * headDim, (head + 1) * rows * headDim);
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
