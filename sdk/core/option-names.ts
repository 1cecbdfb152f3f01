import { SdkError } from './errors.js';

/**
 * An option that nobody reads is a wish that silently does not come true: refused, with the name that was meant.
 * @throws SdkError ERR_ARGUMENT_INVALID with `details.option`
 */
export function refuseUnknownOptions(options: unknown, known: readonly string[], where: string): void {
  if (options === undefined) return;
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected an object with options for ${where} but received ${JSON.stringify(options) ?? typeof options}.`,
    );
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const nearest = nearestName(unknown, known);
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected options that ${where} knows but received "${unknown}". ${
      nearest === undefined ? `It knows ${known.join(', ')}.` : `Did you mean ${nearest}?`
    }`,
    { details: { option: unknown, nearest, known } },
  );
}

/** The name that differs least, if it differs little: `top_p`, `maxTokens` and `temprature` are found. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const plain = (text: string) =>
    text
      .slice(0, 64)
      .toLowerCase()
      .replaceAll(/[_\s-]/g, '');
  const wanted = plain(name);
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const each of known) {
    const distance = editDistance(wanted, plain(each));
    if (distance < bestDistance) [best, bestDistance] = [each, distance];
  }
  return bestDistance <= Math.max(1, Math.floor(wanted.length / 3)) ? best : undefined;
}

/** Letters to insert, remove or replace (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
