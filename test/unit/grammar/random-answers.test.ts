/** A model that knows nothing: random logits under a schema. Whatever it writes parses and validates. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createRandom } from '#sdk/core/random.js';
import { AnswerMatcher } from '#sdk/grammar/matcher/answer-matcher.js';
import { Partitions } from '#sdk/grammar/matcher/partition.js';
import { TokenGrammar } from '#sdk/grammar/matcher/token-grammar.js';
import { TokenTrie } from '#sdk/grammar/matcher/token-trie.js';
import { compileGrammar } from '#sdk/grammar/rules.js';
import { FORMATS } from '#sdk/grammar/schema/formats.js';
import type { JsonSchema } from '#sdk/grammar/schema/json-schema.js';
import { syntheticVocabulary } from '../../support/vocabularies.js';

const text = z.string().max(12);
const tree = z.object({
  label: text,
  get children() {
    return z.array(tree).max(2).optional();
  },
});
const expression: z.ZodType = z.lazy(() =>
  z.union([z.int().min(-99).max(99), z.object({ op: z.enum(['+', '*']), args: z.tuple([expression, expression]) })]),
);

const ZOD: readonly z.ZodType[] = [
  z.boolean(),
  z.null(),
  z.int(),
  z.number(),
  z.number().min(0).max(1),
  z.number().gt(-0.5).lt(0.5),
  z.int().min(1).max(120).multipleOf(7),
  z.number().min(-180).max(180),
  text,
  z.string().min(3).max(5),
  z.string(),
  z.string().regex(/^[A-Z]{2}-\d{3,5}$/),
  z
    .string()
    .regex(/[^"]"$/)
    .max(9),
  z.string().regex(/^[一-龥]{1,4}$/),
  z.iso.date(),
  z.iso.datetime(),
  z.uuid(),
  z.ipv4(),
  z.email().max(30),
  z.enum(['red', 'blue', 'a "quoted" one', 'naïve', '日本', 'line\nbreak', '😀']),
  z.literal([1, 2.5, 'x', null, true]),
  z.array(z.int().min(0).max(9)).min(2).max(5),
  z.array(text).max(3),
  z.tuple([z.boolean(), z.number().min(0).max(10).optional()]),
  z.tuple([text], z.int().min(0).max(3)),
  z.object({}),
  z.object({ a: z.boolean() }),
  z.object({ name: text, age: z.int().min(0).max(150), tags: z.array(z.enum(['x', 'y'])).max(4) }),
  z.object({ a: z.boolean().optional(), b: text.optional(), c: z.int().optional(), d: z.null().optional() }),
  z.object({ 'key "with" \\ quotes': z.boolean(), ключ: z.null(), '': z.literal(0) }),
  z.object({
    box: z.tuple([z.int().min(0).max(100), z.int().min(0).max(100), z.int().min(0).max(100), z.int().min(0).max(100)]),
  }),
  z.object({ objects: z.array(z.object({ label: text, score: z.number().min(0).max(1) })).max(3) }),
  z.union([z.int().min(0).max(9), text, z.array(z.boolean()).max(2)]),
  z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('move'), x: z.number().min(-1).max(1) }),
    z.object({ kind: z.literal('say'), text }),
  ]),
  z.union([z.object({ a: z.boolean(), b: text }), z.object({ a: z.boolean(), c: z.int().min(0).max(5) })]),
  z.intersection(z.object({ a: z.boolean() }), z.object({ b: text })),
  z.record(z.enum(['a', 'b']), z.int().min(0).max(9)),
  z.partialRecord(z.enum(['a', 'b', 'c']), z.boolean()),
  z.record(z.string().regex(/^[a-c]{1,2}$/), z.boolean()),
  tree,
  expression,
  z.object({ deep: z.object({ deeper: z.object({ deepest: z.array(z.array(z.boolean()).max(2)).max(2) }) }) }),
];

const JSON_SCHEMAS: readonly JsonSchema[] = [
  { type: 'object', maxProperties: 3, additionalProperties: { type: 'boolean' }, propertyNames: { maxLength: 4 } },
  {
    type: 'object',
    properties: { a: { type: 'integer', minimum: 0, maximum: 5 } },
    required: ['a'],
    anyOf: [
      { properties: { b: { type: 'null' } }, required: ['b'] },
      { properties: { c: { type: 'boolean' } }, required: ['c'] },
    ],
    maxProperties: 3,
  },
  { type: ['string', 'integer', 'null'], minimum: 3, maximum: 1e6, maxLength: 6 },
  { enum: [[1, { a: 'x' }], { b: [] }, 0.1, 1e21, 'a/b'] },
  {
    type: 'array',
    prefixItems: [{ const: 'head' }],
    items: { anyOf: [{ type: 'integer', minimum: 0, maximum: 9 }, { $ref: '#' }] },
    minItems: 1,
    maxItems: 3,
  },
  {
    type: 'object',
    patternProperties: {
      '^n_[a-z]$': { type: 'integer', minimum: 0, maximum: 9 },
      '^s_[a-z]$': { type: 'string', maxLength: 3 },
    },
    additionalProperties: false,
    minProperties: 1,
    maxProperties: 4,
  },
  { type: 'string', minLength: 4, maxLength: 4, pattern: '[éß😀]' },
  { not: { type: ['object', 'array', 'string', 'number'] } },
];

const SCHEMAS: readonly JsonSchema[] = [
  ...ZOD.map((schema) => z.toJSONSchema(schema, { io: 'input' }) as JsonSchema),
  ...JSON_SCHEMAS,
];

/** Random choice among what is allowed; now and then what closes things, or strings would hardly ever end. */
function writeAnswer(
  grammar: TokenGrammar,
  endIds: readonly number[],
  bytesOf: (id: number) => Uint8Array,
  seed: number,
): string {
  const random = createRandom(seed);
  const matcher = new AnswerMatcher(grammar, endIds);
  const size = grammar.trie.vocabularySize;
  const logits = new Float32Array(size);
  const closing = [...endIds, ...Buffer.from('"}],:Z0123456789')];
  const written: Uint8Array[] = [];
  for (let steps = 0; steps < 3_000; steps++) {
    logits.fill(0);
    if (!matcher.apply(logits)) throw new Error('a dead end');
    // A draw per token would cost most of the time: start anywhere, take the next that is allowed.
    const favourites = random() < 0.7 + steps / 200 ? closing.filter((id) => logits[id] === 0) : [];
    let id =
      favourites.length > 0 ? favourites[Math.floor(random() * favourites.length)]! : Math.floor(random() * size);
    while (logits[id] !== 0) id = (id + 1) % size;
    if (!matcher.allows(id) || !matcher.accept(id)) throw new Error(`refuses ${id}, which the mask allows`);
    if (endIds.includes(id)) return Buffer.concat(written).toString('utf8');
    written.push(bytesOf(id));
  }
  throw new Error(`an answer without end: ${Buffer.concat(written).toString('utf8').slice(0, 200)}`);
}

function check(size: number, runs: number): void {
  const vocabulary = syntheticVocabulary(size);
  const trie = new TokenTrie(vocabulary);
  const partitions = new Partitions(trie);
  const faults: string[] = [];
  for (const [i, schema] of SCHEMAS.entries()) {
    const ajv = new Ajv2020({
      strict: false,
      formats: Object.fromEntries(Object.entries(FORMATS).map(([name, pattern]) => [name, new RegExp(pattern)])),
    });
    const isValid = ajv.compile(schema as object);
    const grammar = new TokenGrammar(compileGrammar(schema), trie, partitions);
    for (let run = 0; run < runs; run++) {
      const answer = writeAnswer(grammar, vocabulary.endIds, vocabulary.bytesOf, i * 1_000 + run);
      let valid = false;
      try {
        valid = isValid(JSON.parse(answer)) && !answer.includes('\uFFFD');
      } catch {}
      if (!valid) faults.push(`${JSON.stringify(schema)}: ${answer}`);
    }
  }
  expect(faults.slice(0, 5)).toEqual([]);
}

describe('answers from random logits', () => {
  test('has 50 schemas', () => expect(SCHEMAS).toHaveLength(50));

  test('parse and validate, 10 000 of them, with a small vocabulary', () => check(400, 200), 600_000);

  test('parse and validate with a vocabulary of 128 256 tokens', () => check(128_256, 2), 600_000);
});
