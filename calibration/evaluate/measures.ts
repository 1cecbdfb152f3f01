/** Scores of a set of items: each a function of sums over them, so that any resample is scored from the same numbers. */

export interface Measure {
  readonly name: string;
  /** Of every item; null where it does not count here (a picture of another kind). All of one length. */
  readonly rows: readonly (readonly number[] | null)[];
  /** From the sums over the items that count, and how many these are. NaN where there are none. */
  value(sums: readonly number[], count: number): number;
  /** The item alone, for a list of items; null where that says nothing. */
  ofItem(index: number): number | null;
  /** Every item is right (1) or wrong (0): two runs can be compared by McNemar's test. */
  readonly isAccuracy: boolean;
}

/** @param values of every item; null where it does not count */
export function meanMeasure(name: string, values: readonly (number | null)[], isAccuracy = false): Measure {
  return {
    name,
    rows: values.map((value) => (value === null ? null : [value])),
    value: ([sum], count) => sum! / count,
    ofItem: (index) => values[index]!,
    isAccuracy,
  };
}

/** Share of items that are right. */
export function accuracyMeasure(name: string, right: readonly (boolean | null)[]): Measure {
  return meanMeasure(
    name,
    right.map((each) => (each === null ? null : Number(each))),
    true,
  );
}

/** Over these items, which may come several times. Default: all, once. */
export function measureOver({ rows, value }: Measure, indices: Iterable<number> = rows.keys()): number {
  let sums: number[] | undefined;
  let count = 0;
  for (const index of indices) {
    const row = rows[index]!;
    if (row === null) continue;
    count++;
    sums ??= new Array<number>(row.length).fill(0);
    for (let i = 0; i < row.length; i++) sums[i]! += row[i]!;
  }
  return sums === undefined ? Number.NaN : value(sums, count);
}
