/**
 * Words of a caption as COCO's evaluation counts them: lower-case tokens of the Penn Treebank without punctuation. The
 * evaluation runs Stanford's PTBTokenizer, which needs Java; these are the rules of its documentation that captions come
 * upon: contractions part, quotes and brackets go, hyphenated words, numbers and abbreviations stay whole.
 */

/** Verb and pronoun that are written together; the second begins at the mark. */
const JOINED = /^(can(?=not$)|gim(?=me$)|gon(?=na$)|got(?=ta$)|lem(?=me$)|wan(?=na$)|d'(?=ye$)|'t(?=is$)|'t(?=was$))/;

/** Abbreviations that keep their full stop wherever they stand. */
const ABBREVIATIONS = new Set(
  'mr. mrs. ms. dr. prof. st. jr. sr. vs. etc. inc. co. corp. ltd. ave. blvd. rd. mt. ft. a.m. p.m. u.s. u.k. i.e. e.g.'.split(
    ' ',
  ),
);

/** Numbers with commas, points, colons and slashes; times; words with hyphens, full stops within and apostrophes; signs. */
const TOKEN =
  /(?:\p{L}\.){2,}|[$£€]|\d+(?:[.,:/]\d+)*(?:st|nd|rd|th|s)?(?:-[\p{L}\p{N}]+)*|[\p{L}\p{N}]+(?:[-&/][\p{L}\p{N}]+|\.(?=\p{L}{2})[\p{L}\p{N}]+|['’][\p{L}]+)*|[#@][\p{L}\p{N}_]+|[%&+=*#@~^|<>/\\]/gu;

export function captionWords(caption: string): string[] {
  const text = caption.replaceAll(/\s+/g, ' ').replaceAll('’', "'").toLowerCase();
  return withAbbreviations(text).flatMap(apart);
}

function withAbbreviations(text: string): string[] {
  return Array.from(text.matchAll(TOKEN), (match) => {
    const word = match[0];
    const stopped = `${word}.`;
    return text[match.index + word.length] === '.' && ABBREVIATIONS.has(stopped) ? stopped : word;
  });
}

function apart(word: string): string[] {
  const joined = JOINED.exec(word)?.[0];
  if (joined !== undefined) return [joined, word.slice(joined.length)];
  const negated = /^(.+)(n't)$/.exec(word);
  if (negated) return [negated[1]!, negated[2]!];
  const clitic = /^(.+)('(?:s|m|d|re|ve|ll))$/.exec(word);
  return clitic ? [...apart(clitic[1]!), clitic[2]!] : [word];
}
