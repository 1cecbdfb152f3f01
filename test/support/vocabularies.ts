/** Made-up byte-level vocabularies: every byte, then pieces of words, numbers, JSON and all scripts. */
import { createRandom } from '#sdk/core/random.js';
import type { TokenBytes } from '#sdk/grammar/matcher/token-trie.js';

const WORDS =
  'the a red cup is on table left right blue book with value name item not and of in box count true false null'.split(
    ' ',
  );
const SCRIPTS = [
  'é',
  'ü',
  'ж',
  'я',
  '中',
  '国',
  '日',
  'あ',
  'ん',
  '한',
  'ا',
  'ل',
  'क',
  'ा',
  '😀',
  '👍',
  '🏽',
  'ß',
  'ñ',
  'Ω',
];
const JSON_PIECES = [
  '{"',
  '":',
  '","',
  '":"',
  '"}',
  '"]',
  '":[',
  '],"',
  '},{"',
  '"},',
  '{}',
  '[]',
  '":{"',
  '},',
  '],',
  '\\n',
  '\\"',
  '\\u00',
  '\\\\',
  '.0',
  'e-',
  '":{',
  '}}',
  ']}',
  '":true',
  '":null',
  ',"',
  '"',
];
const ENDS = 8;

/** The last tokens write nothing: they end an answer, as in the published vocabulary. */
export function syntheticVocabulary(size: number, seed = 1): TokenBytes & { readonly endIds: readonly number[] } {
  const random = createRandom(seed);
  const tokens: Uint8Array[] = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  const seen = new Set(tokens.map((bytes) => Buffer.from(bytes).toString('latin1')));
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const add = (bytes: Uint8Array) => {
    const key = Buffer.from(bytes).toString('latin1');
    if (seen.has(key) || bytes.length === 0) return;
    seen.add(key);
    tokens.push(bytes);
  };
  const encode = (text: string) => new TextEncoder().encode(text);
  for (const piece of JSON_PIECES) add(encode(piece));
  while (tokens.length < size - ENDS) {
    const kind = random();
    if (kind < 0.55) add(encode(`${random() < 0.6 ? ' ' : ''}${letters(random, 2 + Math.floor(random() * 8))}`));
    else if (kind < 0.62) add(encode(String(Math.floor(random() * 1000))));
    else if (kind < 0.7) add(encode(`${pick(WORDS)}${pick(JSON_PIECES)}`));
    else if (kind < 0.76) add(encode(`${pick(JSON_PIECES)}${pick(WORDS)}`));
    else if (kind < 0.94)
      add(encode(`${pick(SCRIPTS)}${pick(SCRIPTS)}${random() < 0.5 ? pick(SCRIPTS) : letters(random, 2)}`));
    else if (kind < 0.96)
      add(encode(`${pick(SCRIPTS)}${pick(SCRIPTS)}`).slice(1 + Math.floor(random() * 2))); // parts of characters
    else if (kind < 0.98) add(encode(' '.repeat(1 + Math.floor(random() * 80))));
    else add(encode(`${pick(JSON_PIECES)}${pick(JSON_PIECES)}${letters(random, 1)}`));
  }
  const none = new Uint8Array(0);
  return {
    vocabularySize: size,
    bytesOf: (id) => tokens[id] ?? none,
    endIds: Array.from({ length: ENDS }, (_, i) => size - ENDS + i).slice(0, 2),
  };
}

function letters(random: () => number, length: number): string {
  return Array.from({ length }, () => String.fromCharCode(97 + Math.floor(random() * 26))).join('');
}
