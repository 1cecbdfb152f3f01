/** Pairs of two lists with the least cost in all. */

/**
 * The assignment of least total cost among those that make the most pairs (the Hungarian method with potentials, n²m for
 * the shorter list n). Pairs that may not be have no finite cost and are never made.
 *
 * @param costs `costs[row][column]`
 * @returns column of each row; −1: none
 */
export function assign(costs: readonly (readonly number[])[]): number[] {
  const found = new Array<number>(costs.length).fill(-1);
  // What can have no pair only costs time.
  const isPossible = (values: readonly number[]) => values.some(Number.isFinite);
  const rows = costs.flatMap((row, i) => (isPossible(row) ? [i] : []));
  const columnCount = costs[0]?.length ?? 0;
  const columns = Array.from({ length: columnCount }, (_, j) => j).filter((j) =>
    isPossible(costs.map((row) => row[j]!)),
  );
  if (rows.length === 0) return found;
  const isTurned = rows.length > columns.length;
  const [short, long] = isTurned ? [columns, rows] : [rows, columns];
  const at = (i: number, j: number) => (isTurned ? costs[long[j]!]![short[i]!]! : costs[short[i]!]![long[j]!]!);
  const pairs = assignAll(short.length, long.length, at);
  for (const [i, j] of pairs.entries()) {
    if (!Number.isFinite(at(i, j))) continue;
    if (isTurned) found[long[j]!] = short[i]!;
    else found[short[i]!] = long[j]!;
  }
  return found;
}

/** Every row gets a column, of which there are at least as many; a pair that may not be is dearer than all others together. */
function assignAll(rows: number, columns: number, at: (row: number, column: number) => number): number[] {
  let sum = 1;
  for (let i = 0; i < rows; i++) {
    let most = 0;
    for (let j = 0; j < columns; j++) if (Number.isFinite(at(i, j))) most = Math.max(most, Math.abs(at(i, j)));
    sum += 2 * most;
  }
  const cost = (row: number, column: number) => {
    const value = at(row, column);
    return Number.isFinite(value) ? value : sum;
  };
  const rowPotential = new Float64Array(rows + 1);
  const columnPotential = new Float64Array(columns + 1);
  const rowOf = new Int32Array(columns + 1); // by column, both from 1; 0: free
  const way = new Int32Array(columns + 1);
  for (let row = 1; row <= rows; row++) {
    const least = new Float64Array(columns + 1).fill(Number.POSITIVE_INFINITY);
    const isUsed = new Uint8Array(columns + 1);
    let column = 0;
    rowOf[0] = row;
    do {
      isUsed[column] = 1;
      const current = rowOf[column]!;
      let delta = Number.POSITIVE_INFINITY;
      let next = 0;
      for (let j = 1; j <= columns; j++) {
        if (isUsed[j]) continue;
        const reduced = cost(current - 1, j - 1) - rowPotential[current]! - columnPotential[j]!;
        if (reduced < least[j]!) [least[j], way[j]] = [reduced, column];
        if (least[j]! < delta) [delta, next] = [least[j]!, j];
      }
      for (let j = 0; j <= columns; j++) {
        if (isUsed[j]) {
          rowPotential[rowOf[j]!]! += delta;
          columnPotential[j]! -= delta;
        } else least[j]! -= delta;
      }
      column = next;
    } while (rowOf[column] !== 0);
    while (column !== 0) {
      const previous = way[column]!;
      rowOf[column] = rowOf[previous]!;
      column = previous;
    }
  }
  const found = new Array<number>(rows).fill(0);
  for (let j = 1; j <= columns; j++) if (rowOf[j] !== 0) found[rowOf[j]! - 1] = j - 1;
  return found;
}
