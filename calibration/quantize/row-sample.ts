/** Rows kept of all that go into a linear: at most 2048, evenly spread over the text of all samples. */
const MAX_ROWS = 2048;

export class RowSample {
  readonly columns: number;
  readonly #step: number;
  readonly #kept: Float32Array[] = [];
  #seen = 0;
  #joined: Float32Array | undefined;

  /** @param total Rows that will come, about. */
  constructor(columns: number, total: number, maxRows = MAX_ROWS) {
    this.columns = columns;
    this.#step = Math.max(1, total / maxRows);
  }

  /** `data [rows, columns]`, of which the first `skip` rows do not count. */
  add(data: Float32Array, skip = 0): void {
    const { columns } = this;
    for (let row = skip; (row + 1) * columns <= data.length; row += 1) {
      const isWanted = Math.floor((this.#seen + 1) / this.#step) > Math.floor(this.#seen / this.#step);
      this.#seen += 1;
      if (isWanted) this.#kept.push(data.slice(row * columns, (row + 1) * columns));
    }
    this.#joined = undefined;
  }

  get rows(): number {
    return this.#kept.length;
  }

  /** `[rows, columns]`. */
  data(): Float32Array {
    if (this.#joined === undefined) {
      const joined = new Float32Array(this.#kept.length * this.columns);
      this.#kept.forEach((row, index) => {
        joined.set(row, index * this.columns);
      });
      this.#joined = joined;
    }
    return this.#joined;
  }

  /** Mean magnitude of each column. */
  magnitudes(): Float64Array {
    const sums = new Float64Array(this.columns);
    for (const row of this.#kept) for (let i = 0; i < row.length; i += 1) sums[i]! += Math.abs(row[i]!);
    return sums.map((sum) => sum / Math.max(1, this.#kept.length));
  }
}
