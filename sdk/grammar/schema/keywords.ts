/** Keywords that say something about one kind of value, and those that only annotate. */
import { type Dfa, intersectDfa, type LengthUnit, UNIVERSAL_DFA } from '../automata/dfa.js';
import { ANY_NUMBER, type NumberRange } from '../automata/numbers.js';
import { invalidSchema, type SchemaPath, unsupported } from '../errors.js';
import { dfaOfPattern } from '../pattern/compile.js';
import { PatternError } from '../pattern/syntax.js';
import { FORMATS, FORMATS_BESIDE_PATTERN } from './formats.js';
import { type JsonSchema, pathOf } from './json-schema.js';
import { ANY_STRING, type StringType } from './value-type.js';

type Keywords = Exclude<JsonSchema, boolean>;

export const TYPES = ['null', 'boolean', 'integer', 'number', 'string', 'array', 'object'] as const;
export type TypeName = (typeof TYPES)[number];

const ANNOTATIONS: ReadonlySet<string> = new Set([
  ...[
    '$schema',
    '$id',
    '$comment',
    '$defs',
    'definitions',
    'title',
    'description',
    'default',
    'examples',
    'deprecated',
  ],
  ...['readOnly', 'writeOnly', 'contentEncoding', 'contentMediaType', 'contentSchema', 'id'],
]);

/** Read in evaluate.ts and below. */
const ENFORCED: ReadonlySet<string> = new Set([
  ...['type', 'const', 'enum', '$ref', 'allOf', 'anyOf', 'oneOf', 'not', 'if', 'then', 'else'],
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  ...['minLength', 'maxLength', 'pattern', 'format'],
  ...['prefixItems', 'items', 'minItems', 'maxItems', 'uniqueItems'],
  ...[
    'properties',
    'required',
    'additionalProperties',
    'patternProperties',
    'propertyNames',
    'minProperties',
    'maxProperties',
  ],
]);

/** Of JSON Schema, but beyond what is enforced here. */
const REFUSED: Readonly<Record<string, string>> = {
  contains: 'List the items with prefixItems, or check the answer yourself.',
  minContains: 'List the items with prefixItems, or check the answer yourself.',
  maxContains: 'List the items with prefixItems, or check the answer yourself.',
  dependentRequired: 'List the allowed combinations with anyOf.',
  dependentSchemas: 'List the allowed combinations with anyOf.',
  dependencies: 'List the allowed combinations with anyOf.',
  unevaluatedProperties: 'Use additionalProperties in one object schema.',
  unevaluatedItems: 'Use items beside prefixItems.',
  additionalItems: 'Use items beside prefixItems (JSON Schema 2020-12).',
  $anchor: 'Use a JSON Pointer such as #/$defs/name.',
  $dynamicRef: 'Use $ref.',
  $dynamicAnchor: 'Use $ref.',
  $recursiveRef: 'Use $ref.',
  nullable: 'Use anyOf with { "type": "null" }.',
  discriminator: 'Use oneOf with a const property.',
};

/** @throws SdkError ERR_SCHEMA_UNSUPPORTED for a keyword that is not enforced: none is passed over in silence */
export function checkKeywords(schema: Keywords, path: SchemaPath): void {
  for (const keyword of Object.keys(schema)) {
    if (ENFORCED.has(keyword) || ANNOTATIONS.has(keyword) || keyword.startsWith('x-')) continue;
    const remedy = Object.hasOwn(REFUSED, keyword)
      ? REFUSED[keyword]!
      : 'Correct it, or begin the name of an annotation of your own with "x-".';
    const what = Object.hasOwn(REFUSED, keyword)
      ? `the keyword ${keyword}`
      : `the unknown keyword ${JSON.stringify(keyword)}`;
    throw unsupported(pathOf(path, keyword), what, remedy);
  }
  if (schema.$id !== undefined && path !== '#') {
    throw unsupported(
      pathOf(path, '$id'),
      'an $id inside the schema, which would move the base of references',
      'Leave it out.',
    );
  }
}

export function typesOf(schema: Keywords, path: SchemaPath): ReadonlySet<TypeName> {
  const { type } = schema;
  if (type === undefined) return new Set(TYPES);
  const names = Array.isArray(type) ? type : [type];
  for (const name of names) {
    if (!TYPES.includes(name as TypeName))
      throw invalidSchema(pathOf(path, 'type'), `one of ${TYPES.join(', ')}, or a list of them`, type);
  }
  return new Set(names as TypeName[]);
}

export function rangeOf(schema: Keywords, path: SchemaPath): NumberRange {
  const limit = (keyword: string): number | undefined => {
    const value = schema[keyword];
    if (value === undefined || (typeof value === 'number' && Number.isFinite(value))) return value;
    throw invalidSchema(pathOf(path, keyword), 'a number', value);
  };
  let { low, lowExclusive, high, highExclusive } = ANY_NUMBER;
  const [minimum, above] = [limit('minimum'), limit('exclusiveMinimum')];
  const [maximum, below] = [limit('maximum'), limit('exclusiveMaximum')];
  if (minimum !== undefined) low = minimum;
  if (above !== undefined && above >= low) [low, lowExclusive] = [above, true];
  if (maximum !== undefined) high = maximum;
  if (below !== undefined && below <= high) [high, highExclusive] = [below, true];
  const multiple = limit('multipleOf');
  return {
    low,
    lowExclusive,
    high,
    highExclusive,
    integer: false,
    multiple: multipleOf(multiple, pathOf(path, 'multipleOf')),
  };
}

/** Only steps that doubles divide by without rounding: integers, halves, quarters … */
function multipleOf(step: number | undefined, path: SchemaPath): NumberRange['multiple'] {
  if (step === undefined) return undefined;
  if (step <= 0) throw invalidSchema(path, 'a number above 0', step);
  const remedy = 'Count in whole steps (an integer of hundredths, say) and divide afterwards.';
  if (!Number.isInteger(step * 1024))
    throw unsupported(path, `multiples of ${step}, which doubles cannot hold exactly`, remedy);
  let decimals = 0;
  while (!Number.isInteger(step * 10 ** decimals)) decimals++;
  const of = step * 10 ** decimals;
  if (of > 10_000)
    throw unsupported(path, `multiples of ${step}, which need too many states`, 'Use a step of at most 10 000.');
  return { of, decimals };
}

export function countOf(schema: Keywords, keyword: string, otherwise: number, path: SchemaPath): number {
  const value = schema[keyword];
  if (value === undefined) return otherwise;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value;
  throw invalidSchema(pathOf(path, keyword), 'a whole number from 0 on', value);
}

export function stringTypeOf(schema: Keywords, path: SchemaPath): StringType {
  const { pattern, format } = schema;
  let dfa = UNIVERSAL_DFA;
  if (pattern !== undefined) dfa = patternDfa(pattern, pathOf(path, 'pattern'));
  if (format !== undefined) dfa = intersectDfa(dfa, formatDfa(schema, pathOf(path, 'format')));
  const min = countOf(schema, 'minLength', 0, path);
  return { ...ANY_STRING, dfa, min, max: countOf(schema, 'maxLength', Number.POSITIVE_INFINITY, path) };
}

export function patternDfa(pattern: unknown, path: SchemaPath): Dfa {
  if (typeof pattern !== 'string') throw invalidSchema(path, 'a regular expression as a string', pattern);
  try {
    return dfaOfPattern(pattern);
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    throw unsupported(
      path,
      `the pattern ${JSON.stringify(pattern).slice(0, 120)} has ${error.message}`,
      'Write it without.',
    );
  }
}

function formatDfa(schema: Keywords, path: SchemaPath): Dfa {
  const { format } = schema;
  if (typeof format !== 'string') throw invalidSchema(path, 'a string', format);
  if (Object.hasOwn(FORMATS, format)) return dfaOfPattern(FORMATS[format]!);
  const inParts = Array.isArray(schema.allOf) && schema.allOf.some((part) => typeof part?.pattern === 'string');
  if (FORMATS_BESIDE_PATTERN.has(format) && (schema.pattern !== undefined || inParts)) return UNIVERSAL_DFA;
  throw unsupported(
    path,
    `the format ${JSON.stringify(format)}`,
    `Known are ${Object.keys(FORMATS).join(', ')}; for others give a pattern.`,
  );
}

/** Of a zod or JSON Schema length: which unit `minLength` and `maxLength` count. */
export type { LengthUnit };
