/** What a verification found, and how it is printed. */
import type { Numerics } from '#sdk/engine/engine.js';

export interface TensorDifference {
  readonly name: string;
  /** NaN: shapes differ, or a value is not a number. */
  readonly maxAbsDifference: number;
}

export interface VerifyCheck {
  /** `img1_chat`, `vision h1w2`, `processor grad_100x300`. */
  readonly case: string;
  /** null: does not depend on it. */
  readonly numerics: Numerics | null;
  readonly tensors: readonly TensorDifference[];
  /** Largest of `tensors`; null when none was compared. */
  readonly maxAbsDifference: number | null;
  /** Greedy tokens, and other integers that must be equal; null when there are none. */
  readonly tokensEqual: boolean | null;
  readonly passed: boolean;
  /** Why it missed or was skipped. */
  readonly note: string;
}

export interface VerifyReport {
  readonly checkpoint: string;
  readonly tolerance: number;
  readonly checks: readonly VerifyCheck[];
  /** What was found in the folder and not compared, with the reason. */
  readonly notCompared: readonly string[];
  readonly passed: boolean;
}

/** Collects the comparisons of one line of the table. */
export class CheckBuilder {
  readonly #case: string;
  readonly #numerics: Numerics | null;
  readonly #tolerance: number;
  readonly #tensors: TensorDifference[] = [];
  readonly #notes: string[] = [];
  #tokensEqual: boolean | null = null;

  constructor(name: string, numerics: Numerics | null, tolerance: number) {
    this.#case = name;
    this.#numerics = numerics;
    this.#tolerance = tolerance;
  }

  compare(name: string, actual: ArrayLike<number> | undefined, expected: ArrayLike<number>): void {
    this.#tensors.push({ name, maxAbsDifference: maxAbsDifference(actual, expected) });
  }

  /** Integers that must be the same: tokens, masks, sizes. */
  equal(name: string, actual: ArrayLike<number>, expected: ArrayLike<number>): void {
    const same = actual.length === expected.length && Array.from(actual).every((value, i) => value === expected[i]);
    this.#tokensEqual = (this.#tokensEqual ?? true) && same;
    if (!same) this.#notes.push(`${name}: expected ${shown(expected)}, got ${shown(actual)}`);
  }

  fail(note: string): void {
    this.#tokensEqual = false;
    this.#notes.push(note);
  }

  finish(): VerifyCheck {
    let worst: TensorDifference | undefined;
    for (const tensor of this.#tensors) {
      if (worst === undefined || !(tensor.maxAbsDifference <= worst.maxAbsDifference)) worst = tensor;
      if (!(tensor.maxAbsDifference <= this.#tolerance)) {
        this.#notes.push(`${tensor.name} differs by ${shownDifference(tensor.maxAbsDifference)}`);
      }
      if (Number.isNaN(tensor.maxAbsDifference)) break;
    }
    const compared = this.#tensors.length > 0 || this.#tokensEqual !== null;
    return {
      case: this.#case,
      numerics: this.#numerics,
      tensors: this.#tensors,
      maxAbsDifference: worst?.maxAbsDifference ?? null,
      tokensEqual: this.#tokensEqual,
      passed: compared && this.#notes.length === 0,
      note: this.#notes.join('; '),
    };
  }
}

/** NaN when lengths differ or anything is not a number. */
export function maxAbsDifference(actual: ArrayLike<number> | undefined, expected: ArrayLike<number>): number {
  if (actual === undefined || actual.length !== expected.length) return Number.NaN;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (Number.isNaN(difference)) return Number.NaN;
    if (difference > largest) largest = difference;
  }
  return largest;
}

/** The table, and the verdict as its last line. */
export function formatVerifyReport(report: VerifyReport): string {
  const header = ['case', 'numerics', 'tensors', 'max abs diff', 'tokens equal', ''];
  const rows = report.checks.map((check) => [
    check.case,
    check.numerics ?? '-',
    String(check.tensors.length),
    check.maxAbsDifference === null ? '-' : shownDifference(check.maxAbsDifference),
    check.tokensEqual === null ? '-' : check.tokensEqual ? 'yes' : 'NO',
    check.passed ? 'ok' : `MISS ${check.note}`,
  ]);
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd();
  const rule = widths.slice(0, -1).map((width) => '-'.repeat(width));
  const misses = report.checks.filter((check) => !check.passed).length;
  const verdict = report.passed
    ? `${report.checks.length} checks passed, every tensor within ${report.tolerance}.`
    : `${misses} of ${report.checks.length} checks missed (tolerance ${report.tolerance}).`;
  const skipped = report.notCompared.map((note) => `not compared: ${note}`);
  return [line(header), line([...rule, '']), ...rows.map(line), '', ...skipped, verdict].join('\n');
}

function shownDifference(difference: number): string {
  return Number.isNaN(difference) ? 'shape or NaN' : difference.toExponential(1);
}

function shown(values: ArrayLike<number>): string {
  const first = Array.from(values).slice(0, 16).join(' ');
  return values.length > 16 ? `${first} …` : first;
}
