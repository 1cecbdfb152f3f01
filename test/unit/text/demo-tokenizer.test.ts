import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { createRandom } from '#sdk/core/random.js';
import { createDetokenizer } from '#sdk/text/detokenizer.js';
import { loadTokenizer, type Tokenizer } from '#sdk/text/tokenizer.js';

const path = (relative: string) => fileURLToPath(new URL(`../../../${relative}`, import.meta.url));

describe('the tokenizer of the demo model', () => {
  let tokenizer: Tokenizer;
  let cases: { text: string; ids: number[] }[];
  beforeAll(async () => {
    tokenizer = await loadTokenizer(path('examples/demo-model/checkpoint'));
    cases = JSON.parse(await readFile(path('test/fixtures/text/demo-tokenizer.json'), 'utf8'));
  });

  test('gives the ids that the training code gives', () => {
    expect(cases.length).toBeGreaterThan(30);
    for (const { text, ids } of cases) expect(tokenizer.encodeText(text), text).toEqual(ids);
  });

  test('streams them back to the same text', () => {
    for (const { text, ids } of cases) {
      const detokenizer = createDetokenizer(tokenizer);
      expect(ids.map((id) => detokenizer.push(id)).join('') + detokenizer.flush()).toBe(text);
    }
  });

  test('keeps every number of a box one token, and its specials out of text', () => {
    for (let number = 0; number < 100; number++) expect(tokenizer.encodeText(String(number))).toHaveLength(1);
    const specials = new Set(tokenizer.specialTokens.values());
    expect(specials.size).toBe(12);
    const everySpecial = [...tokenizer.specialTokens.keys()].join(' and ');
    expect(tokenizer.encodeText(everySpecial).filter((id) => specials.has(id))).toEqual([]);
    expect(tokenizer.encodeTemplate(everySpecial).filter((id) => specials.has(id))).toHaveLength(12);
  });

  test('gives back any text, and streams any ids to what decode() makes of them', () => {
    const random = createRandom(1);
    const below = (limit: number) => Math.floor(random() * limit);
    const planes = [0x80, 0x800, 0x3000, 0xd800, 0x1f9ff];
    const specials = [...tokenizer.specialTokens.keys()];
    for (let round = 0; round < 300; round++) {
      const characters = Array.from({ length: below(40) }, () => {
        if (random() < 0.05) return specials[below(specials.length)]!;
        const point = below(planes[below(planes.length)]!);
        return String.fromCodePoint(point >= 0xd800 && point < 0xe000 ? 0x20 : point);
      });
      const text = characters.join('');
      expect(tokenizer.decode(tokenizer.encodeText(text))).toBe(text);

      const ids = Array.from({ length: 30 }, () => below(tokenizer.vocabularySize + 10));
      const detokenizer = createDetokenizer(tokenizer);
      expect(ids.map((id) => detokenizer.push(id)).join('') + detokenizer.flush()).toBe(tokenizer.decode(ids));
    }
  });
});
