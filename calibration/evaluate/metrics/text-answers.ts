/** Scores of short answers: ANLS of documents, relaxed correctness of charts, yes or no of POPE. */

/**
 * ANLS of one question, 0–1 (Biten et al., arXiv 1905.13648), as the Robust Reading Competition's script for DocVQA has
 * it: case and runs of spaces do not count, the distance is divided by the longer text as it was given, and what is
 * below the threshold is wrong. A similarity of exactly 0.5 counts, which the paper's formula leaves out.
 */
export function anls(said: string, answers: readonly string[], threshold = 0.5): number {
  const plain = (text: string) => text.trim().toLowerCase().split(/\s+/).join(' ');
  const distances = answers.map((answer) => {
    const longer = Math.max([...answer].length, [...said].length);
    return longer === 0 ? 0 : editDistance(plain(answer), plain(said)) / longer;
  });
  const similarity = 1 - Math.min(...distances);
  return similarity < threshold ? 0 : similarity;
}

/** Levenshtein's, in characters. */
export function editDistance(a: string, b: string): number {
  const [left, right] = [[...a], [...b]];
  let above = Uint32Array.from({ length: right.length + 1 }, (_, i) => i);
  for (const [i, character] of left.entries()) {
    const row = new Uint32Array(right.length + 1);
    row[0] = i + 1;
    for (let j = 1; j <= right.length; j++) {
      const changed = above[j - 1]! + (right[j - 1] === character ? 0 : 1);
      row[j] = Math.min(changed, above[j]! + 1, row[j - 1]! + 1);
    }
    above = row;
  }
  return above[right.length]!;
}

/**
 * ChartQA's relaxed correctness (Masry et al., arXiv 2203.10244, section 5.1; as pix2struct's `relaxed_correctness` has
 * it): numbers within 5 % of the target, a trailing % counting as hundredths; all else, and a target of 0, to the letter
 * but for case.
 */
export function relaxedCorrect(said: string, target: string, tolerance = 0.05): boolean {
  const [a, b] = [numberOf(said), numberOf(target)];
  if (a === undefined || b === undefined || b === 0 || Number.isNaN(b))
    return said.toLowerCase() === target.toLowerCase();
  return Math.abs(a - b) / Math.abs(b) <= tolerance;
}

/** What Python's float() takes: spaces around, underscores between digits, inf and nan. */
function numberOf(text: string): number | undefined {
  const percent = text.endsWith('%');
  const digits = text.replace(/%+$/, '').trim().toLowerCase();
  const scale = percent ? 100 : 1;
  if (/^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[+-]?\d+(_\d+)*)?$/.test(digits)) {
    return Number(digits.replaceAll('_', '')) / scale;
  }
  const special = /^([+-]?)(inf|infinity|nan)$/.exec(digits);
  if (special === null) return undefined;
  return special[2] === 'nan' ? Number.NaN : special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

/**
 * POPE's reading of an answer (Li et al., arXiv 2305.10355; RUCAIBox/POPE evaluate.py at 3df3ba1): no where the first
 * sentence has the word "No", "no" or "not"; else yes, whatever it says.
 */
export function popeSaysYes(said: string): boolean {
  const words = said.split('.')[0]!.replaceAll(',', '').split(' ');
  return !words.some((word) => word === 'No' || word === 'not' || word === 'no');
}
