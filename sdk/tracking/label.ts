/** Whether two labels can be of the same thing. */

/** `same`: word for word; `related`: one says more than the other (`red cup` and `cup`); `other`: anything else. */
export type LabelMatch = 'same' | 'related' | 'other';

/**
 * Case, articles and a plural's s do not count. Labels are related when every word of one is in the other: then neither
 * contradicts the other, as `red cup` and `blue cup` do.
 */
export function matchLabels(a: string, b: string): LabelMatch {
  const [first, second] = [wordsOf(a), wordsOf(b)];
  const isWithin = (few: ReadonlySet<string>, many: ReadonlySet<string>) => [...few].every((word) => many.has(word));
  const [forth, back] = [isWithin(first, second), isWithin(second, first)];
  if (forth && back) return 'same';
  return forth || back ? 'related' : 'other';
}

const ARTICLES = new Set(['a', 'an', 'the']);

function wordsOf(label: string): ReadonlySet<string> {
  const words = label.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [label];
  const content = words.filter((word) => !ARTICLES.has(word));
  return new Set((content.length > 0 ? content : words).map((word) => word.replace(/(?<=\p{L}{3})s$/u, '')));
}
