/** CIDEr-D and BLEU-4 of captions, over words that `captionWords` made. */

const LONGEST = 4;
/** Of the length penalty of CIDEr-D, in words. */
const SIGMA = 6;

type Counts = ReadonlyMap<string, number>;

/** How often each run of 1–4 words occurs, by its length; a run is its words joined by spaces. */
function runsOf(words: readonly string[]): Counts[] {
  return Array.from({ length: LONGEST }, (_, i) => {
    const counts = new Map<string, number>();
    for (let at = 0; at + i < words.length; at++) {
      const run = words.slice(at, at + i + 1).join(' ');
      counts.set(run, (counts.get(run) ?? 0) + 1);
    }
    return counts;
  });
}

export interface CaptionedItem {
  readonly said: readonly string[];
  /** People's captions of the same picture. */
  readonly references: readonly (readonly string[])[];
}

/**
 * CIDEr-D of each item (Vedantam et al., arXiv 1411.5726, section 8): cosine of clipped tf-idf vectors of 1 to 4 words,
 * damped by the difference of lengths (σ = 6), times ten; the score of a set is the mean. Document frequencies are those
 * of all items' references, so that a set of one item scores 0. As COCO's evaluation has it, the lengths are those in
 * pairs of words.
 */
export function ciderD(items: readonly CaptionedItem[]): number[] {
  const references = items.map((item) => item.references.map(runsOf));
  const pictures = new Map<string, number>();
  for (const each of references) {
    for (const run of new Set(each.flatMap((counts) => counts.flatMap((ofLength) => [...ofLength.keys()]))))
      pictures.set(run, (pictures.get(run) ?? 0) + 1);
  }
  const logItems = Math.log(items.length);
  const vectorOf = (counts: readonly Counts[]) => {
    const weights = counts.map(
      (ofLength) =>
        new Map(
          Array.from(ofLength, ([run, times]) => [
            run,
            times * (logItems - Math.log(Math.max(1, pictures.get(run) ?? 0))),
          ]),
        ),
    );
    const norms = weights.map((ofLength) => Math.sqrt(sum(Array.from(ofLength.values(), (weight) => weight ** 2))));
    return { weights, norms, length: sum([...counts[1]!.values()]) };
  };
  return items.map(({ said }, i) => {
    const hypothesis = vectorOf(runsOf(said));
    const similarities = references[i]!.map((counts) => {
      const reference = vectorOf(counts);
      const damping = Math.exp(-((hypothesis.length - reference.length) ** 2) / (2 * SIGMA ** 2));
      const byLength = hypothesis.weights.map((weights, n) => {
        const products = Array.from(weights, ([run, weight]) => {
          const other = reference.weights[n]!.get(run) ?? 0;
          return Math.min(weight, other) * other;
        });
        const norm = hypothesis.norms[n]! * reference.norms[n]!;
        return norm === 0 ? sum(products) : sum(products) / norm;
      });
      return (damping * sum(byLength)) / LONGEST;
    });
    return (10 * sum(similarities)) / similarities.length;
  });
}

/** Matches of 1–4 words, possible ones, the length and that of the nearest reference: what BLEU of any set needs of an item. */
export function bleuStatistics({ said, references }: CaptionedItem): number[] {
  const own = runsOf(said);
  const others = references.map(runsOf);
  const matches = own.map((counts, n) =>
    sum(
      Array.from(counts, ([run, times]) => Math.min(times, Math.max(...others.map((each) => each[n]!.get(run) ?? 0)))),
    ),
  );
  const possible = own.map((_, n) => Math.max(0, said.length - n));
  const nearest = references
    .map(({ length }) => length)
    .reduce((best, length) => {
      const [a, b] = [Math.abs(length - said.length), Math.abs(best - said.length)];
      return a < b || (a === b && length < best) ? length : best;
    });
  return [...matches, ...possible, said.length, nearest];
}

/**
 * BLEU-4 of a set (Papineni et al., ACL 2002) with the nearest reference's length, from the sum of its items' statistics,
 * with the tiny terms against division by zero of COCO's evaluation.
 */
export function bleu4(sums: readonly number[]): number {
  const [tiny, small] = [1e-15, 1e-9];
  let product = 1;
  for (let n = 0; n < LONGEST; n++) product *= (sums[n]! + tiny) / (sums[LONGEST + n]! + small);
  const ratio = (sums[2 * LONGEST]! + tiny) / (sums[2 * LONGEST + 1]! + small);
  return product ** (1 / LONGEST) * (ratio < 1 ? Math.exp(1 - 1 / ratio) : 1);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
