/** What the grammar admits against what ajv finds valid, over generated schemas and values, in both directions. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { isSdkError } from '#sdk/core/errors.js';
import { createRandom } from '#sdk/core/random.js';
import { matchesText } from '#sdk/grammar/matcher/answer-matcher.js';
import { TokenGrammar } from '#sdk/grammar/matcher/token-grammar.js';
import { TokenTrie } from '#sdk/grammar/matcher/token-trie.js';
import { compileGrammar } from '#sdk/grammar/rules.js';
import { FORMATS } from '#sdk/grammar/schema/formats.js';
import type { JsonSchema, JsonValue } from '#sdk/grammar/schema/json-schema.js';
import { findMismatch } from '#sdk/grammar/validate.js';
import { ordersOf, randomSchema, textsOf, valueFor } from '../../support/schema-pairs.js';

const bytes = new TokenTrie({ vocabularySize: 256, bytesOf: (id) => Uint8Array.of(id) });
const SCHEMAS = 650;
const VALUES = 16;
const ORDERS = 24;

describe('conformance with ajv', () => {
  test('admits exactly what is valid, but for the order of properties', () => {
    const random = createRandom(20_261_130);
    const counts = { pairs: 0, valid: 0, refused: 0, unsatisfiable: 0 };
    const faults: string[] = [];
    for (let i = 0; i < SCHEMAS && faults.length < 10; i++) {
      const node: JsonSchema = {
        anyOf: [
          { type: 'null' },
          {
            type: 'object',
            properties: { next: { $ref: '#/$defs/node' }, a: { type: 'integer' } },
            required: ['a'],
            additionalProperties: false,
          },
        ],
      };
      const inner = randomSchema(random);
      const schema: JsonSchema = typeof inner === 'object' ? { ...inner, $defs: { node } } : inner;
      const ajv = new Ajv2020({ strict: false, validateFormats: true, formats: { date: new RegExp(FORMATS.date!) } });
      const isValid = ajv.compile(schema as object);
      let grammar: TokenGrammar | undefined;
      try {
        grammar = new TokenGrammar(compileGrammar(schema), bytes);
      } catch (error) {
        if (isSdkError(error, 'ERR_SCHEMA_UNSATISFIABLE')) counts.unsatisfiable++;
        else if (isSdkError(error, 'ERR_SCHEMA_UNSUPPORTED')) {
          expect(error.details.path).toMatch(/^#/);
          counts.refused++;
          continue;
        } else throw error;
      }
      const multiples = JSON.stringify(schema).includes('multipleOf');
      for (let j = 0; j < VALUES; j++) {
        const value = valueFor(random, schema, { node });
        const valid = isValid(value);
        counts.pairs++;
        if (valid) counts.valid++;
        const fault = (what: string, text: string) =>
          faults.push(`${what}: ${JSON.stringify({ ...(schema as object), $defs: undefined })} ${text}`);
        if ((findMismatch(schema, value) === undefined) !== valid)
          fault('our validator disagrees', JSON.stringify(value));
        const admits = (each: JsonValue) => grammar !== undefined && matchesText(grammar, JSON.stringify(each));
        const order = ordersOf(value, ORDERS).find(admits);
        if (valid !== (order !== undefined)) fault(valid ? 'forbids' : 'admits', JSON.stringify(value));
        if (grammar === undefined) continue;
        for (const text of textsOf(random, order ?? value, 4)) {
          // Stated: multiples are written without an exponent.
          if (multiples && /\d[eE]/.test(text)) continue;
          if (matchesText(grammar, text) !== valid && isValid(JSON.parse(text)) === valid)
            fault(valid ? 'forbids' : 'admits', text);
        }
      }
    }
    expect(faults).toEqual([]);
    expect(counts.pairs).toBeGreaterThanOrEqual(10_000);
    expect(counts.valid).toBeGreaterThan(counts.pairs / 5);
    expect(counts.refused).toBeLessThan(SCHEMAS / 10);
  }, 600_000);
});
