import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { beforeAll, describe, expect, test } from 'vitest';
import { LIMITS } from '#sdk/core/limits.js';
import { createDetokenizer } from '#sdk/text/detokenizer.js';
import { loadTokenizer, type Tokenizer } from '#sdk/text/tokenizer.js';
import { SPECIAL_TOKENS, tinyTokenizerJson, writeTokenizerFolder } from '../../support/tiny-tokenizer.js';

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await loadTokenizer(await writeTokenizerFolder());
});

const SAMPLES = [
  'What is the image?',
  "It's a red cup, isn't it?  Two spaces.",
  '{"label":"red cup","box":[12,34,56,78]}',
  'Grüße, 你好, 😀👩‍👩‍👧, עברית\n\n\ttab and trailing  \n',
  '1234567 ',
  '\ufeffmark \u0000 nul',
];

describe('encodeText', () => {
  test('gives the ids of the reference encoder for text without specials', () => {
    const reference = new HuggingFaceTokenizer(tinyTokenizerJson(), {});
    for (const text of SAMPLES) {
      expect(tokenizer.encodeText(text)).toEqual(reference.encode(text, { add_special_tokens: false }).ids);
    }
  });

  test('merges whole words and two-digit numbers', () => {
    expect(tokenizer.encodeText(' image')).toHaveLength(1);
    expect(tokenizer.encodeText('user')).toHaveLength(1);
    expect(tokenizer.encodeText('42')).toHaveLength(1);
  });

  test('never gives a special token, and gives back every letter', () => {
    const specialIds = new Set(tokenizer.specialTokens.values());
    const texts = SPECIAL_TOKENS.flatMap((name) => [
      name,
      ` ${name}`,
      `a${name}b`,
      `${name}${name}`,
      `\n${name}\n`,
      `<|${name}|>`,
    ]);
    for (const text of [...texts, SPECIAL_TOKENS.join('')]) {
      const ids = tokenizer.encodeText(text);
      expect(ids.filter((id) => specialIds.has(id))).toEqual([]);
      expect(tokenizer.decode(ids)).toBe(text);
    }
  });

  test('spells a special token that the pre-tokenizer would leave whole', async () => {
    const json = tinyTokenizerJson();
    const special = { ...json.added_tokens[0]!, id: 5000, content: 'secret' };
    const directory = await writeTokenizerFolder({
      'tokenizer.json': JSON.stringify({ ...json, added_tokens: [...json.added_tokens, special] }),
    });
    const withWord = await loadTokenizer(directory);
    expect(withWord.encodeTemplate('secret')).toEqual([5000]);
    const ids = withWord.encodeText('secret');
    expect(ids).not.toContain(5000);
    expect(withWord.decode(ids)).toBe('secret');
  });

  test('refuses text beyond the limit', () => {
    const error = { name: 'SdkError', code: 'ERR_LIMIT_EXCEEDED' };
    expect(() => tokenizer.encodeText('a'.repeat(LIMITS.promptCharacters + 1))).toThrow(expect.objectContaining(error));
  });
});

describe('encodeTemplate', () => {
  test('parses specials and adds none of its own', () => {
    const [bos, image] = [tokenizer.specialTokenId('<|begin_of_text|>')!, tokenizer.specialTokenId('<|image|>')!];
    expect(tokenizer.bosTokenId).toBe(bos);
    expect(tokenizer.encodeTemplate('<|begin_of_text|><|image|> image')).toEqual([
      bos,
      image,
      ...tokenizer.encodeText(' image'),
    ]);
    expect(tokenizer.encodeTemplate('plain')).toEqual(tokenizer.encodeText('plain'));
  });
});

describe('decode', () => {
  test('strips special and unknown tokens', () => {
    const ids = [
      tokenizer.bosTokenId!,
      ...tokenizer.encodeText('café'),
      tokenizer.specialTokenId('<|eot_id|>')!,
      999_999,
      -1,
    ];
    expect(tokenizer.decode(ids)).toBe('café');
  });
});

describe('createDetokenizer', () => {
  test('emits whole characters only and loses nothing', () => {
    for (const text of SAMPLES) {
      const detokenizer = createDetokenizer(tokenizer);
      const pieces = tokenizer.encodeText(text).map((id) => detokenizer.push(id));
      pieces.push(detokenizer.flush());
      expect(pieces.join('')).toBe(text);
      expect(pieces.join('|')).not.toContain('\ufffd');
    }
  });

  test('holds back a part of a character and marks it when the text ends there', () => {
    const detokenizer = createDetokenizer(tokenizer);
    const ids = tokenizer.encodeText('😀'); // four bytes, four tokens
    expect(ids).toHaveLength(4);
    expect(ids.map((id) => detokenizer.push(id))).toEqual(['', '', '', '😀']);
    expect([detokenizer.push(ids[0]!), detokenizer.push(ids[1]!), detokenizer.flush()]).toEqual(['', '', '\ufffd']);
    expect(detokenizer.push(tokenizer.encodeText('a')[0]!)).toBe('a');
  });

  test('writes nothing for special tokens, even inside a character', () => {
    const detokenizer = createDetokenizer(tokenizer);
    const [a, b] = tokenizer.encodeText('é');
    const eot = tokenizer.specialTokenId('<|eot_id|>')!;
    expect([a!, eot, b!].map((id) => detokenizer.push(id)).join('')).toBe('é');
  });
});

describe('loadTokenizer', () => {
  const load = async (files: Record<string, string | undefined>) => loadTokenizer(await writeTokenizerFolder(files));
  interface LooseJson {
    model: Record<string, unknown> & { vocab: Record<string, unknown> };
    decoder: unknown;
    added_tokens: { content: string }[];
    pre_tokenizer: { pretokenizers: { pattern?: { Regex: string } }[] };
  }
  const tampered = (change: (json: LooseJson) => void) => {
    const json: LooseJson = tinyTokenizerJson();
    change(json);
    return { 'tokenizer.json': JSON.stringify(json) };
  };

  test.each([
    ['no file', { 'tokenizer.json': undefined }, 'ERR_MODEL_NOT_FOUND'],
    ['a truncated file', { 'tokenizer.json': '{"model": {' }, 'ERR_TOKENIZER_INVALID'],
    ['an array', { 'tokenizer.json': '[]' }, 'ERR_TOKENIZER_INVALID'],
    ['no model', { 'tokenizer.json': '{}' }, 'ERR_TOKENIZER_INVALID'],
    ['a broken config', { 'tokenizer_config.json': '{' }, 'ERR_TOKENIZER_INVALID'],
    ['another kind of model', tampered((json) => (json.model.type = 'Unigram')), 'ERR_MODEL_UNSUPPORTED'],
    ['another decoder', tampered((json) => (json.decoder = { type: 'Metaspace' })), 'ERR_MODEL_UNSUPPORTED'],
    ['a missing byte', tampered((json) => delete json.model.vocab['!']), 'ERR_TOKENIZER_INVALID'],
    ['an enormous id', tampered((json) => (json.model.vocab.x1 = 4e9)), 'ERR_TOKENIZER_INVALID'],
    ['an id that is no number', tampered((json) => (json.model.vocab.x1 = '7')), 'ERR_TOKENIZER_INVALID'],
    ['malformed merges', tampered((json) => (json.model.merges = [['a']])), 'ERR_TOKENIZER_INVALID'],
    ['a nameless special', tampered((json) => (json.added_tokens[0]!.content = '')), 'ERR_TOKENIZER_INVALID'],
    [
      'an unknown pattern',
      tampered((json) => (json.pre_tokenizer.pretokenizers[0]!.pattern!.Regex = '(')),
      'ERR_TOKENIZER_INVALID',
    ],
  ])('refuses %s with a typed error', async (_, files, code) => {
    await expect(load(files)).rejects.toMatchObject({ name: 'SdkError', code });
  });

  test('refuses a file beyond the limit without reading it', async () => {
    const directory = await writeTokenizerFolder();
    await truncate(join(directory, 'tokenizer.json'), LIMITS.tokenizerFileBytes + 1); // sparse
    await expect(loadTokenizer(directory)).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
  });
});
