/** Schemas by strangers: large, hard, endless. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { answerSchema, GrammarCache } from '#sdk/grammar/answer-schema.js';
import { compileApart } from '#sdk/grammar/compile-apart.js';
import { matchesText } from '#sdk/grammar/matcher/answer-matcher.js';
import { TokenGrammar } from '#sdk/grammar/matcher/token-grammar.js';
import type { Grammar } from '#sdk/grammar/rules.js';
import { compileGrammar } from '#sdk/grammar/rules.js';
import type { JsonSchema } from '#sdk/grammar/schema/json-schema.js';
import { BYTES } from '../../support/grammars.js';

const admits = (grammar: Grammar, text: string) => matchesText(new TokenGrammar(grammar, BYTES), text);
const apart = (schema: JsonSchema, bounds = {}) => compileApart({ schema, lengthUnit: 'codePoints' }, bounds);

/** 2^20 states once it is determinized. */
const HARD: JsonSchema = { type: 'string', pattern: '(a|b)*a(a|b){20}$' };

describe('schemas by strangers', () => {
  test('refuses one of 2 MB before reading it', () => {
    const schema = { enum: Array.from({ length: 200_000 }, (_, i) => `value${i}`) };
    expect(() => answerSchema(schema)).toThrow(expect.objectContaining({ code: 'ERR_LIMIT_EXCEEDED' }));
  });

  test('refuses one nested without end', () => {
    let schema: JsonSchema = {};
    for (let i = 0; i < 300; i++) schema = { items: schema };
    expect(() => answerSchema(schema)).toThrow(expect.objectContaining({ code: 'ERR_LIMIT_EXCEEDED' }));
    const circle: Record<string, unknown> = {};
    circle.items = circle;
    expect(() => answerSchema(circle)).toThrow(expect.objectContaining({ code: 'ERR_SCHEMA_INVALID' }));
  });

  test('takes 10 000 values of an enum', () => {
    const grammar = compileGrammar({ enum: Array.from({ length: 10_000 }, (_, i) => `value ${i}`) });
    expect(admits(grammar, '"value 9999"')).toBe(true);
    expect(admits(grammar, '"value 10000"')).toBe(false);
  });

  test('compiles apart what it compiles here', async () => {
    const schema = z.toJSONSchema(z.object({ a: z.string().max(3), b: z.int().optional() })) as JsonSchema;
    const grammar = await apart(schema);
    expect(admits(grammar, '{"a":"xyz","b":-5}')).toBe(true);
    expect(admits(grammar, '{"a":"wxyz"}')).toBe(false);
  });

  test('brings errors back with their code and path', async () => {
    await expect(apart({ properties: { a: { uniqueItems: true, type: 'array' } } })).rejects.toMatchObject({
      code: 'ERR_SCHEMA_UNSUPPORTED',
      details: { path: '#/properties/a/uniqueItems' },
    });
  });

  test('ends a compilation that takes too much', async () => {
    await expect(apart(HARD, { timeoutMs: 300 })).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
    await expect(apart(HARD, { memoryMebibytes: 16 })).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
    expect(() => compileGrammar({ ...(HARD as object), pattern: '(a|b)*a(a|b){18}$' })).toThrow(
      expect.objectContaining({ code: 'ERR_LIMIT_EXCEEDED' }),
    );
  });

  test('stops when it is told to', async () => {
    const abort = new AbortController();
    const compiled = apart(HARD, { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(compiled).rejects.toThrow('enough');
  });

  test('lets others wait while two are compiled', async () => {
    const [abort, leave] = [new AbortController(), new AbortController()];
    const hard = [0, 1].map(() => apart(HARD, { signal: abort.signal }).catch(() => 'stopped'));
    const third = apart({ const: 1 });
    const fourth = apart({ const: 1 }, { signal: leave.signal });
    expect(await Promise.race([third, Promise.resolve('waits')])).toBe('waits');
    leave.abort(new Error('not any more'));
    await expect(fourth).rejects.toThrow('not any more'); // at once, while both are still compiled
    abort.abort(new Error('enough'));
    expect(await Promise.all(hard)).toEqual(['stopped', 'stopped']);
    expect(admits(await third, '1')).toBe(true);
  });

  test('keeps compiled grammars, the last used', async () => {
    const cache = new GrammarCache(2);
    const [a, b, c] = [{ const: 1 }, { const: 2 }, { const: 3 }].map((schema) => answerSchema(schema));
    const first = await cache.compile(a!, 'caller');
    await cache.compile(b!, 'caller');
    expect(await cache.compile(answerSchema({ const: 1 }), 'stranger')).toBe(first);
    await cache.compile(c!, 'caller');
    expect(await cache.compile(a!, 'caller')).toBe(first);
  });
});

describe('answerSchema', () => {
  test('parses with zod where zod was given', () => {
    const schema = answerSchema(z.object({ at: z.string().transform((text) => text.length) }));
    expect(schema.parse('{"at":"abc"}')).toEqual({ at: 3 });
  });

  test('closes the objects of zod, but for loose ones and parts of an intersection', () => {
    const both = z.intersection(z.object({ a: z.string().default('x') }), z.object({ b: z.number() }));
    const grammar = compileGrammar(answerSchema(z.object({ both, loose: z.looseObject({}) })).jsonSchema);
    expect(admits(grammar, '{"both":{"a":"y","b":1},"loose":{"c":1}}')).toBe(true);
    expect(admits(grammar, '{"both":{"b":1},"loose":{}}')).toBe(true);
    expect(admits(grammar, '{"both":{"b":1},"loose":{},"more":1}')).toBe(false);
  });

  test('carries the text of an answer that does not meet the schema', () => {
    const schema = answerSchema({ type: 'object', properties: { n: { minimum: 3 } } });
    expect(schema.parse('{"n":3}')).toEqual({ n: 3 });
    expect(() => schema.parse('{"n":2}')).toThrow(
      expect.objectContaining({ code: 'ERR_ANSWER_INVALID', details: expect.objectContaining({ text: '{"n":2}' }) }),
    );
    expect(() => schema.parse('{"n":')).toThrow(expect.objectContaining({ code: 'ERR_ANSWER_INVALID' }));
    expect(() => schema.parse('{"n":2}')).toThrow(/\/n does not meet #\/properties\/n\/minimum/);
  });

  test('refuses zod types that JSON Schema cannot describe', () => {
    expect(() => answerSchema(z.object({ at: z.date() }))).toThrow(
      expect.objectContaining({ code: 'ERR_SCHEMA_UNSUPPORTED' }),
    );
  });
});
