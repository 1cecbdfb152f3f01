/** Masks: neither a token too many nor one too few, at every point of an answer. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createRandom } from '#sdk/core/random.js';
import { AnswerGrammars } from '#sdk/grammar/index.js';
import { AnswerMatcher } from '#sdk/grammar/matcher/answer-matcher.js';
import type { MatchState } from '#sdk/grammar/matcher/machine.js';
import { TokenGrammar } from '#sdk/grammar/matcher/token-grammar.js';
import { type TokenBytes, TokenTrie } from '#sdk/grammar/matcher/token-trie.js';
import { compileGrammar } from '#sdk/grammar/rules.js';
import type { JsonSchema } from '#sdk/grammar/schema/json-schema.js';
import { syntheticVocabulary } from '../../support/vocabularies.js';

/** Tokens that end a name or a value and go on with another name, as published vocabularies have them. */
const ACROSS_NAMES = [
  ',"',
  '","',
  '":',
  '":1',
  '":{"',
  ',"a',
  ',"a"',
  ',"a":',
  '":1,"',
  '":1,"a',
  '":1,"b"',
  '},"a',
  '1,"ab":',
  'null,"a"',
];
const plain = syntheticVocabulary(1_500, 7);
const FIRST_ACROSS = 600;
const vocabulary = {
  ...plain,
  bytesOf: (id: number) => {
    const across = ACROSS_NAMES[id - FIRST_ACROSS];
    return across === undefined ? plain.bytesOf(id) : new TextEncoder().encode(across);
  },
};
const trie = new TokenTrie(vocabulary);

const SCHEMAS: readonly JsonSchema[] = [
  {
    type: 'object',
    properties: { a: { type: 'string', minLength: 2, maxLength: 5 }, b: { type: 'number' } },
    required: ['a'],
    additionalProperties: { type: 'integer' },
  },
  {
    type: 'object',
    additionalProperties: { type: ['boolean', 'null'] },
    propertyNames: { pattern: '^(?:a|b|c[a-z]*)$' },
  },
  {
    type: 'array',
    items: {
      anyOf: [
        { type: 'object', properties: { x: { const: 1 } }, required: ['x'] },
        { type: 'object', properties: { x: { type: 'string', pattern: '^[^"]*$' } }, required: ['x'] },
        { type: 'string' },
      ],
    },
    maxItems: 4,
  },
  { type: 'object', additionalProperties: { type: 'object', additionalProperties: { type: 'integer' } } },
  {
    type: 'object',
    properties: { a: { type: 'null' } },
    patternProperties: { '^[ab]{1,2}$': { type: 'boolean' } },
    additionalProperties: { type: 'array', items: { type: 'integer' } },
    propertyNames: { maxLength: 3 },
    maxProperties: 9,
  },
  { type: 'string', pattern: '\\\\|"|😀' },
  { type: 'number', minimum: -1, exclusiveMaximum: 20 },
  true,
];

/** By the bytes of each token, one by one. */
function allowedByBytes(state: MatchState, { vocabularySize, bytesOf }: TokenBytes): number[] {
  const allowed: number[] = [];
  for (let id = 0; id < vocabularySize; id++) {
    let after: MatchState | null = bytesOf(id).length === 0 ? null : state;
    for (const byte of bytesOf(id)) after = after === null ? null : after.step(byte);
    if (after !== null) allowed.push(id);
  }
  return allowed;
}

function tokensOf(mask: Uint32Array): number[] {
  return Array.from({ length: mask.length * 32 }, (_, id) => id).filter((id) => (mask[id >> 5]! >>> (id & 31)) & 1);
}

describe('masks', () => {
  test.each(SCHEMAS.map((schema, i) => [JSON.stringify(schema).slice(0, 60), schema, i] as const))(
    'of %s allow what the bytes allow',
    (_, schema, seed) => {
      const grammar = new TokenGrammar(compileGrammar(schema), trie);
      const random = createRandom(seed);
      for (let answer = 0; answer < 3; answer++) {
        let state: MatchState | null = grammar.start;
        for (let step = 0; step < 20 && state !== null; step++) {
          const allowed = tokensOf(grammar.maskOf(state));
          expect(allowed).toEqual(allowedByBytes(state, vocabulary));
          if (allowed.length === 0) break;
          const structural = allowed.filter((id) =>
            /^["{}[\],:\\a-d]/.test(Buffer.from(vocabulary.bytesOf(id)).toString('latin1')),
          );
          const from = structural.length > 0 && random() < 0.7 ? structural : allowed;
          state = grammar.after(state, from[Math.floor(random() * from.length)]!);
        }
      }
    },
  );

  test.each([
    ['{"a":1,"ab":2,"b":3,"abc":4,"', { type: 'object', additionalProperties: { type: 'integer' } }],
    ['{"ab":{"a":1,"b":2},"a":{"a":1,"ab":{},"b":{"a":2},"', { $ref: '#/$defs/node' }],
    [
      '{"a":null,"ab":true,"xy":[1],"b":false,"xyz":[],"x',
      { type: 'object', properties: { a: { type: 'null' } }, patternProperties: { '^[ab]': true }, maxProperties: 9 },
    ],
  ])('allow no name of %s a second time, from one byte to the next', (text, schema) => {
    const node = { type: 'object', additionalProperties: { anyOf: [{ type: 'integer' }, { $ref: '#/$defs/node' }] } };
    const grammar = new TokenGrammar(compileGrammar({ ...schema, $defs: { node } } as JsonSchema), trie);
    let state: MatchState | null = grammar.start;
    for (const byte of Buffer.from(text)) {
      expect(tokensOf(grammar.maskOf(state))).toEqual(allowedByBytes(state, vocabulary));
      state = state.step(byte)!;
    }
    expect(tokensOf(grammar.maskOf(state))).toEqual(allowedByBytes(state, vocabulary));
  });

  test('leave no way into what cannot be ended', () => {
    // Of three names two are used: only the third may begin, and nothing may follow it.
    const grammar = new TokenGrammar(
      compileGrammar({ type: 'object', additionalProperties: true, propertyNames: { pattern: '^(?:a|b|c[a-z]*)$' } }),
      trie,
    );
    const read = (text: string) =>
      Buffer.from(text).reduce<MatchState | null>(
        (state, byte) => (state === null ? null : state.step(byte)),
        grammar.start,
      );
    expect(read('{"a":1,"a')).toBeNull();
    expect(read('{"a":1,"b')).not.toBeNull();
    expect(read('{"ca":1,"ca"')).toBeNull();
    expect(read('{"ca":1,"cab"')).not.toBeNull();
  });
});

describe('AnswerMatcher', () => {
  const [end] = vocabulary.endIds as [number];
  const ids = (text: string) => [...Buffer.from(text)];

  test('counts the tokens of a draft that may come', () => {
    const matcher = new AnswerMatcher(
      new TokenGrammar(compileGrammar({ enum: ['ab', 'ac'] }), trie),
      vocabulary.endIds,
    );
    expect(matcher.countAllowed(ids('"ab"'))).toBe(4);
    expect(matcher.countAllowed([...ids('"ab"'), end, end])).toBe(5);
    expect(matcher.countAllowed(ids('"ad"'))).toBe(2);
    expect(matcher.countAllowed([end])).toBe(0);
    expect(matcher.isWhole).toBe(false);
  });

  test('allows the end where the answer is whole, and nothing after it', () => {
    const matcher = new AnswerMatcher(
      new TokenGrammar(compileGrammar({ type: 'integer', minimum: 1, maximum: 12 }), trie),
      vocabulary.endIds,
    );
    expect(matcher.allows(end)).toBe(false);
    expect(matcher.accept(end)).toBe(false);
    expect(matcher.accept('1'.charCodeAt(0))).toBe(true);
    expect(matcher.allows(end)).toBe(true);
    expect(matcher.allows('3'.charCodeAt(0))).toBe(false);
    expect(matcher.accept(end)).toBe(true);
    expect(matcher.apply(new Float32Array(1_500))).toBe(false);
  });

  test('says when a vocabulary cannot write what must come', () => {
    const letters: TokenBytes = { vocabularySize: 26, bytesOf: (id) => Uint8Array.of(97 + id) };
    const matcher = new AnswerMatcher(new TokenGrammar(compileGrammar({ enum: ['a'] }), new TokenTrie(letters)), []);
    const logits = new Float32Array(26);
    expect(matcher.apply(logits)).toBe(false);
    expect(logits.every((logit) => logit === Number.NEGATIVE_INFINITY)).toBe(true);
  });

  test('excludes logits beyond the vocabulary', () => {
    const matcher = new AnswerMatcher(new TokenGrammar(compileGrammar(true), trie), []);
    const logits = new Float32Array(2_000);
    matcher.apply(logits);
    expect(logits.subarray(1_500).every((logit) => logit === Number.NEGATIVE_INFINITY)).toBe(true);
  });

  test('ends where too many readings stay possible', () => {
    // Each level of nesting doubles the ways in which what was read can go on.
    const branch = (key: string) => ({
      type: 'object',
      properties: { a: { $ref: '#' }, [key]: { const: 1 } },
      required: ['a', key],
    });
    const grammar = new TokenGrammar(compileGrammar({ anyOf: [{ const: 0 }, branch('b'), branch('c')] }), trie);
    let state: MatchState | null = grammar.start;
    expect(() => {
      for (let i = 0; i < 20; i++) for (const byte of Buffer.from('{"a":')) state = state!.step(byte);
    }).toThrow(expect.objectContaining({ code: 'ERR_LIMIT_EXCEEDED' }));
  });
});

test('AnswerGrammars gives equal schemas one grammar', async () => {
  const grammars = new AnswerGrammars(vocabulary, vocabulary.endIds);
  const [zod, json] = [
    await grammars.prepare(z.boolean(), 'caller'),
    await grammars.prepare({ type: 'boolean' }, 'stranger'),
  ];
  for (const prepared of [zod, json]) {
    const mask = prepared.begin();
    for (const id of [...Buffer.from('true'), vocabulary.endIds[0]!]) mask.accept(id);
    expect(prepared.parse('true')).toBe(true);
    expect(() => prepared.begin().accept(0x78)).toThrow(expect.objectContaining({ code: 'ERR_INTERNAL' }));
  }
});
