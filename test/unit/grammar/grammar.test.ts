/** What schemas admit and forbid, keyword by keyword; what is refused, and where. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { isSdkError } from '#sdk/core/errors.js';
import { compileGrammar } from '#sdk/grammar/rules.js';
import type { JsonSchema } from '#sdk/grammar/schema/json-schema.js';
import { admitting } from '../../support/grammars.js';

const tree = z.object({
  name: z.string().max(3),
  get children() {
    return z.array(tree).max(2);
  },
});

const CASES: readonly (readonly [
  name: string,
  schema: JsonSchema,
  admits: readonly string[],
  forbids: readonly string[],
])[] = [
  [
    'a range of numbers, to the last digit and with exponents',
    { type: 'number', minimum: 0, maximum: 1 },
    ['0', '1', '0.1234567', '1e-3', '1.0', '0.5', '-0', '1E0', '9.99e-1', '1e-300'],
    ['1.5', '1.000001', '-0.1', '2', '1e1', '1e', '01', '.5', '1e0001', '+1'],
  ],
  [
    'numbers around 0',
    { type: 'number', minimum: -1, maximum: 1 },
    ['-0.5', '-1', '1', '0', '-1e-2'],
    ['-1.5', '1.5', '-1.01', '-1.0000001e0'],
  ],
  [
    'an exclusive bound, by what JSON.parse makes of the digits as well',
    { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1 },
    ['0.1', '5e-324', '0.9999999999999999', '0.99999999999999994'],
    ['0', '0.0', '-0', '1', '2e-324', '0.99999999999999995', '1.0'],
  ],
  [
    'every finite number',
    { type: 'number' },
    ['1.7976931348623157e308', '-1e21', '1e+21', '123456789012345680000'],
    ['1e400', '2e308', 'NaN', 'Infinity'],
  ],
  [
    'integers of a range',
    { type: 'integer', minimum: 1, maximum: 120 },
    ['1', '120', '99', '1.0', '1e2', '1.20e2'],
    ['0', '121', '1.5', '1e-1', '1.25e1', '1.3e2'],
  ],
  [
    'multiples',
    { type: 'integer', minimum: 0, maximum: 100, multipleOf: 7 },
    ['7', '98', '0', '7.0'],
    ['8', '105', '1', '7.5'],
  ],
  [
    'multiples of a binary fraction',
    { type: 'number', minimum: 0, maximum: 10, multipleOf: 0.25 },
    ['0.25', '7.75', '0.250', '3'],
    ['0.2', '0.24', '10.25', '0.251'],
  ],
  [
    'constants as any spelling',
    { enum: [0.1, 1e21, 'a/b"é', { a: [null, true] }] },
    [
      '0.1',
      '1e-1',
      '0.10',
      '1e21',
      '1e+21',
      '1000000000000000000000',
      '"a/b\\"é"',
      '"a\\/b\\u0022\\u00e9"',
      '{"a":[null,true]}',
    ],
    ['0.2', '0.10000000000000001', '"a/b"', '{"a":[null]}', '{}'],
  ],
  ['a pattern without anchors', { type: 'string', pattern: '[A-Z]{2}' }, ['"xABx"', '"AB"'], ['"A"', '"ab"', 'AB']],
  [
    'a pattern with alternatives',
    { type: 'string', pattern: '^a|b$' },
    ['"a"', '"axx"', '"xb"'],
    ['"xa"', '"bx"', 'a"', '"a'],
  ],
  [
    'any character but a line break, in JSON',
    { type: 'string', pattern: '^.$' },
    ['"\\""', '"é"', '"\\u00e9"', '"\\ud83d\\ude00"', '"😀"', '"\\\\"'],
    ['"""', '"\\n"', '"\n"', '"ab"', '""', '"\\ud83d"', '"\\"'],
  ],
  ['a lookahead', { type: 'string', pattern: '^(?!no).*x(?=y)' }, ['"axy"'], ['"noxy"', '"ax"']],
  [
    'lengths in code points, however they are written',
    { type: 'string', minLength: 2, maxLength: 3 },
    ['"\\n\\n"', '"\\u00e9é😀"', '"\\ud83d\\ude00a"'],
    ['"a"', '"abcd"', '"\\n"', '"😀"'],
  ],
  [
    'a pattern beside lengths',
    { type: 'string', pattern: '^a*$', minLength: 2, maxLength: 3 },
    ['"aa"', '"aaa"'],
    ['"a"', '"aaaa"', '"ab"'],
  ],
  [
    'real dates only',
    { type: 'string', format: 'date' },
    ['"2024-02-29"', '"2000-02-29"'],
    ['"2023-02-29"', '"1900-02-29"', '"2024-04-31"', '"2024-13-01"'],
  ],
  [
    'addresses',
    { type: 'string', format: 'ipv6' },
    ['"::1"', '"1:2:3:4:5:6:7:8"', '"::ffff:1.2.3.4"', '"1::"'],
    ['":::"', '"1:2"', '"1::2::3"'],
  ],
  [
    'allOf, with other properties and none twice',
    {
      allOf: [
        { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] },
        { properties: { b: { type: 'string' } }, required: ['b'] },
      ],
    },
    ['{"a":1,"b":"x"}', '{"a":1,"b":"x","c":[]}'],
    ['{"a":1}', '{}', '{"a":1,"b":2}', '{"a":1,"b":"x","a":"y"}', '{"a":1,"b":"x","c":1,"c":2}'],
  ],
  [
    'anyOf beside properties',
    {
      type: 'object',
      properties: { x: { type: 'integer' } },
      required: ['x'],
      anyOf: [{ required: ['y'] }, { required: ['z'] }],
    },
    ['{"x":1,"y":2}', '{"x":1,"z":null}', '{"x":1,"y":2,"z":1}'],
    ['{"x":1}', '{}'],
  ],
  [
    'oneOf that overlaps, where the rest can be told',
    {
      oneOf: [
        { type: 'string', pattern: 'a' },
        { type: 'string', pattern: 'b' },
      ],
    },
    ['"a"', '"b"'],
    ['"ab"', '"c"'],
  ],
  [
    'several types with the bounds of each',
    { type: ['integer', 'string'], minimum: 3, maxLength: 1 },
    ['3', '"a"'],
    ['2', '"ab"', 'null'],
  ],
  [
    'if, then, else',
    // biome-ignore lint/suspicious/noThenProperty: the keyword of JSON Schema
    { if: { type: 'string' }, then: { maxLength: 2 }, else: { type: 'integer' } },
    ['"a"', '5'],
    ['"abc"', 'null', '5.5'],
  ],
  [
    'a record of known names',
    z.toJSONSchema(z.record(z.enum(['a', 'b']), z.number())) as JsonSchema,
    ['{"a":1,"b":2}'],
    ['{}', '{"a":1}', '{"a":1,"b":2,"a":3}'],
  ],
  [
    'few names by pattern',
    { type: 'object', propertyNames: { pattern: '^[ab]$' }, additionalProperties: { type: 'integer' } },
    ['{}', '{"a":1}', '{"a":1,"b":2}'],
    ['{"b":1,"b":1}', '{"c":1}'],
  ],
  [
    'names by patterns',
    {
      type: 'object',
      patternProperties: { '^a': { type: 'integer' }, z$: { minimum: 5 } },
      additionalProperties: false,
    },
    ['{"ab":1,"z":9}', '{"az":5}', '{"z":"x"}'],
    ['{"az":4}', '{"b":1}', '{"ab":"x"}'],
  ],
  [
    'numbers of properties',
    {
      type: 'object',
      minProperties: 2,
      maxProperties: 2,
      properties: { a: {}, b: {}, c: {} },
      additionalProperties: false,
    },
    ['{"a":1,"b":2}', '{"b":2,"c":1}'],
    ['{"a":1}', '{"a":1,"b":2,"c":3}'],
  ],
  [
    'a tuple with an optional end',
    z.toJSONSchema(z.tuple([z.string(), z.number().optional()])) as JsonSchema,
    ['["a"]', '["a",1]'],
    ['[]', '["a",1,2]'],
  ],
  [
    'recursion',
    z.toJSONSchema(tree) as JsonSchema,
    ['{"name":"a","children":[]}', '{"name":"a","children":[{"name":"","children":[{"name":"c","children":[]}]}]}'],
    ['{"name":"a"}', '{"name":"a","children":[{}]}'],
  ],
  [
    'anything, as compact JSON',
    true,
    ['{"a":[1,{"b":null}],"c":"x"}', '[]', '1', 'true'],
    ['{a:1}', '[1,]', '[1, 2]', '{"a":1,"a":2}', '{"a" :1}'],
  ],
];

describe('compileGrammar', () => {
  test.each(CASES)('admits %s', (_, schema, admits, forbids) => {
    const admitsText = admitting(schema);
    expect(admits.filter((text) => !admitsText(text))).toEqual([]);
    expect(forbids.filter(admitsText)).toEqual([]);
  });

  test.each([
    ['an unknown format', { type: 'string', format: 'uri' }, '#/format'],
    ['a word boundary', { properties: { a: { pattern: '\\ba' } } }, '#/properties/a/pattern'],
    ['a back reference', { pattern: '(a)\\1' }, '#/pattern'],
    ['a lookbehind', { pattern: '(?<=a)b' }, '#/pattern'],
    ['uniqueItems', { type: 'array', uniqueItems: true }, '#/uniqueItems'],
    ['contains', { type: 'array', contains: { const: 1 } }, '#/contains'],
    ['dependentRequired', { dependentRequired: { a: ['b'] } }, '#/dependentRequired'],
    ['unevaluatedProperties', { unevaluatedProperties: false }, '#/unevaluatedProperties'],
    ['multiples that doubles cannot hold', { type: 'number', multipleOf: 0.1 }, '#/multipleOf'],
    ['multiples without bounds', { type: 'integer', multipleOf: 3 }, '#/multipleOf'],
    ['branches that overlap', { oneOf: [{ type: 'integer' }, { type: 'number', minimum: 5 }] }, '#/oneOf'],
    ['the complement of objects', { not: { type: 'object', required: ['a'] } }, '#/not'],
    ['a reference to another document', { $ref: 'other.json' }, '#/$ref'],
    ['a circle of references', { $ref: '#' }, '#'],
    ['a misspelt keyword', { type: 'number', minimun: 1 }, '#/minimun'],
    ['tuples in the old form', { type: 'array', items: [{ type: 'string' }] }, '#/items'],
  ] as const)('refuses %s with its path', (_, schema, path) => {
    const error = thrownBy(() => compileGrammar(schema as JsonSchema));
    expect(error).toMatchObject({ code: 'ERR_SCHEMA_UNSUPPORTED', details: { path } });
  });

  test.each([
    ['false', false],
    ['never', { not: {} }],
    ['bounds out of order', { type: 'number', minimum: 2, maximum: 1 }],
    ['no integer in between', { type: 'integer', exclusiveMinimum: 1, exclusiveMaximum: 2 }],
    ['a forbidden required property', { type: 'object', required: ['a'], additionalProperties: false }],
    ['recursion without end', { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }],
    ['a pattern that no text has', { type: 'string', pattern: '(?=a)b' }],
    ['constants that differ', { allOf: [{ const: 1 }, { const: 2 }] }],
  ] as const)('says that nothing meets %s', (_, schema) => {
    expect(thrownBy(() => compileGrammar(schema as JsonSchema))).toMatchObject({ code: 'ERR_SCHEMA_UNSATISFIABLE' });
  });

  test.each([
    ['a type that is none', { type: 'float' }, '#/type'],
    ['a bound that is no number', { properties: { 'a/b': { minimum: '1' } } }, '#/properties/a~1b/minimum'],
    ['an enum that is no list', { enum: 'a' }, '#/enum'],
    ['a reference to nothing', { $ref: '#/$defs/a' }, '#/$ref'],
    ['a schema that is a string', { items: 'string' }, '#/items'],
  ] as const)('says that %s is no schema', (_, schema, path) => {
    expect(thrownBy(() => compileGrammar(schema as JsonSchema))).toMatchObject({
      code: 'ERR_SCHEMA_INVALID',
      details: { path },
    });
  });

  test.each([
    ['email', z.email(), ['"a.b@example.com"'], ['"a@b"', '"a..b@example.com"']],
    ['uuid', z.uuid(), ['"123e4567-e89b-42d3-a456-426614174000"'], ['"123e4567"']],
    ['date-time', z.iso.datetime(), ['"2024-02-29T23:59:59Z"'], ['"2023-02-29T00:00:00Z"', '"2024-01-01"']],
    ['duration', z.iso.duration(), ['"P1Y2DT3H"', '"PT1.5S"', '"P3W"'], ['"P"', '"PT"', '"P1W2D"']],
    ['ipv4', z.ipv4(), ['"192.168.0.1"'], ['"256.1.1.1"']],
    ['base64', z.base64(), ['"YQ=="', '""'], ['"YQ="']],
    ['checks of strings', z.string().startsWith('x').includes('yy').endsWith('z'), ['"xyyz"'], ['"xyz"']],
    ['template literals', z.templateLiteral(['a', z.number()]), ['"a-1.5"'], ['"ab"']],
    ['literals', z.literal(['a', 1, null, true]), ['"a"', '1', 'null', 'true'], ['"b"', 'false']],
    ['nullable', z.string().max(1).nullable(), ['null', '"a"'], ['"ab"']],
    [
      'discriminated unions',
      z.discriminatedUnion('k', [z.object({ k: z.literal('a') }), z.object({ k: z.literal('b'), v: z.int() })]),
      ['{"k":"a"}', '{"k":"b","v":1}'],
      ['{"k":"b"}', '{"k":"c"}'],
    ],
  ] as const)('takes what zod writes for %s', (_, schema, admits, forbids) => {
    const admitsText = admitting(z.toJSONSchema(schema) as JsonSchema);
    expect(admits.filter((text) => !admitsText(text))).toEqual([]);
    expect(forbids.filter(admitsText)).toEqual([]);
  });
});

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    if (isSdkError(error)) return error;
    throw error;
  }
  return undefined;
}
