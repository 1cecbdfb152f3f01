/** Logistic regression with few features, by Newton's method. */

/** Enough for a sample of thousands not to notice, and for a sample without a mistake to have a finite answer. */
const RIDGE = 1;
const STEPS = 50;

/**
 * Weights and bias that make `1 / (1 + exp(−(weights · features + bias)))` as probable as can be. Weights below 0 are
 * taken out: more of a score never makes a thing less likely.
 *
 * @param rows features of each sample, all of one length
 * @returns weights in the order of the features; the bias
 */
export function fitLogistic(
  rows: readonly (readonly number[])[],
  isRight: readonly boolean[],
): { readonly weights: number[]; readonly bias: number } {
  const count = rows[0]?.length ?? 0;
  let used = Array.from({ length: count }, (_, i) => i);
  for (;;) {
    const solution = newton(
      rows.map((row) => [...used.map((i) => row[i]!), 1]),
      isRight,
    );
    const negative = used.filter((_, k) => solution[k]! < 0);
    if (negative.length === 0) {
      const weights = new Array<number>(count).fill(0);
      for (const [k, i] of used.entries()) weights[i] = solution[k]!;
      return { weights, bias: solution[used.length]! };
    }
    used = used.filter((i) => !negative.includes(i));
  }
}

function newton(rows: readonly (readonly number[])[], isRight: readonly boolean[]): number[] {
  const size = rows[0]?.length ?? 1;
  let at = new Array<number>(size).fill(0);
  for (let step = 0; step < STEPS; step++) {
    const gradient = at.map((value) => -RIDGE * value);
    const hessian = at.map((_, i) => at.map((__, j) => (i === j ? RIDGE : 0)));
    for (const [k, row] of rows.entries()) {
      const probability = 1 / (1 + Math.exp(-row.reduce((sum, value, i) => sum + value * at[i]!, 0)));
      const weight = probability * (1 - probability);
      for (let i = 0; i < size; i++) {
        gradient[i]! += row[i]! * (Number(isRight[k]) - probability);
        for (let j = 0; j < size; j++) hessian[i]![j]! += weight * row[i]! * row[j]!;
      }
    }
    const move = solve(hessian, gradient);
    // Far from the solution a whole step may overshoot.
    const longest = Math.max(...move.map(Math.abs));
    const share = longest > 4 ? 4 / longest : 1;
    at = at.map((value, i) => value + share * move[i]!);
    if (longest < 1e-9) break;
  }
  return at;
}

/** Gaussian elimination of a symmetric positive matrix. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, right[i]!]);
  const size = rows.length;
  for (let i = 0; i < size; i++) {
    for (let k = i + 1; k < size; k++) {
      const factor = rows[k]![i]! / rows[i]![i]!;
      for (let j = i; j <= size; j++) rows[k]![j]! -= factor * rows[i]![j]!;
    }
  }
  const solution = new Array<number>(size).fill(0);
  for (let i = size - 1; i >= 0; i--) {
    const known = solution.reduce((sum, value, j) => (j > i ? sum + value * rows[i]![j]! : sum), 0);
    solution[i] = (rows[i]![size]! - known) / rows[i]![i]!;
  }
  return solution;
}
