/** Seeded schemas and values for them, valid and not, and the ways in which a value can be written. */
import type { JsonSchema, JsonValue } from '#sdk/grammar/schema/json-schema.js';

export type Random = () => number;

const PATTERNS: readonly (readonly [pattern: string, texts: readonly string[]])[] = [
  ['^[a-z]+$', ['abc', 'a', '', 'aB', 'é']],
  ['[A-Z]{2}', ['xABx', 'AB', 'A', 'aBcD']],
  ['^ab|cd$', ['abx', 'xcd', 'abcd', 'xabx', 'cdx']],
  ['^.$', ['"', '\\', '\n', 'é', '😀', 'ab', '']],
  ['^[^,]*,\\s?\\d{1,2}$', ['x,1', '", 12', 'x,123', ',9', '\n,5']],
  ['^(?!no)\\w{2,4}$', ['yes', 'no', 'note', 'ok', 'a']],
  ['(a|bc)*d', ['d', 'abcd', 'ab', 'xxdxx']],
  ['^\\p{Lu}\\p{L}*$', ['Élan', 'Ab', 'ab', 'Ж']],
  ['^(?:a?b){1,3}$', ['b', 'abab', 'bbbb', 'a']],
  ['\\/\\u0041\\.', ['/A.', '/A', 'x/A.y']],
];
const TEXTS = [
  '',
  'a',
  'ab',
  'abc',
  'é',
  '😀',
  'a"b',
  'a\\b',
  '\n\t',
  '日本語',
  'null',
  '2024-02-29',
  '2023-02-29',
  '/A.',
  'x1',
];
// Not '': without allErrors ajv takes a required '' for met by any object (findings/ajv-required-empty-name.sh).
const NAMES = ['a', 'b', 'c', 'x1', 'é"', '\n'];
const CONSTANTS: readonly JsonValue[] = [
  0,
  -1,
  0.1,
  1e21,
  1.5,
  'a',
  'a/b',
  '',
  true,
  false,
  null,
  [],
  [1, 'a'],
  {},
  { a: 1, b: [null] },
];
const BOUNDS = [0, 1, -1, 0.1, -0.5, 2.5, 10, 100, 1e-7, 1e21, 123456.789, 0.30000000000000004, -180, 1e308];

function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(random() * list.length)]!;
}

function some<T>(random: Random, list: readonly T[], most: number): T[] {
  const count = 1 + Math.floor(random() * most);
  return [...list].sort(() => random() - 0.5).slice(0, count);
}

type Keywords = Record<string, unknown>;

/** A schema within what is enforced; references go to #/$defs/node, which the caller adds. */
export function randomSchema(random: Random, depth = 3): JsonSchema {
  const chance = random();
  if (depth <= 0 || chance < 0.5) return scalarSchema(random);
  if (chance < 0.62) return arraySchema(random, depth);
  if (chance < 0.8) return objectSchema(random, depth);
  if (chance < 0.86) return { anyOf: [randomSchema(random, depth - 1), randomSchema(random, depth - 1)] };
  if (chance < 0.9) return { allOf: [objectSchema(random, depth), objectSchema(random, depth)] };
  if (chance < 0.93)
    return { ...objectSchema(random, depth), anyOf: [{ required: [pick(random, NAMES)] }, objectSchema(random, 1)] };
  if (chance < 0.95) return { oneOf: [tagged(random, 'p', depth), tagged(random, 'q', depth), scalarSchema(random)] };
  if (chance < 0.96)
    // biome-ignore lint/suspicious/noThenProperty: the keyword of JSON Schema
    return { if: scalarCondition(random), then: scalarSchema(random), else: randomSchema(random, depth - 1) };
  if (chance < 0.97) return { not: scalarCondition(random) };
  return { $ref: '#/$defs/node' };
}

function tagged(random: Random, tag: string, depth: number): JsonSchema {
  const rest = objectSchema(random, depth - 1);
  const properties = { tag: { const: tag }, ...(rest.properties as Keywords) };
  return { type: 'object', properties, required: ['tag'], additionalProperties: random() < 0.5 };
}

function scalarCondition(random: Random): JsonSchema {
  return pick<JsonSchema>(random, [
    { type: 'string' },
    { type: 'number', minimum: pick(random, BOUNDS) },
    { type: 'string', pattern: pick(random, PATTERNS)[0] },
    { type: ['null', 'boolean'] },
    { const: 1 },
    { enum: ['a', 'ab', 2.5, true] },
  ]);
}

function scalarSchema(random: Random): JsonSchema {
  const chance = random();
  if (chance < 0.35) return numberSchema(random);
  if (chance < 0.65) return stringSchema(random);
  if (chance < 0.75) return { enum: some(random, CONSTANTS, 4) };
  if (chance < 0.8) return { const: pick(random, CONSTANTS) };
  if (chance < 0.88) return { type: pick(random, ['boolean', 'null']) };
  if (chance < 0.95) return { ...numberSchema(random), ...stringSchema(random), type: ['string', 'integer', 'null'] };
  return random() < 0.5 ? {} : true;
}

function numberSchema(random: Random): Keywords {
  const schema: Keywords = { type: random() < 0.4 ? 'integer' : 'number' };
  const [low, high] = [pick(random, BOUNDS), pick(random, BOUNDS)].sort((a, b) => a - b) as [number, number];
  if (random() < 0.6) schema[random() < 0.6 ? 'minimum' : 'exclusiveMinimum'] = low;
  if (random() < 0.6) schema[random() < 0.6 ? 'maximum' : 'exclusiveMaximum'] = high;
  if (random() < 0.12)
    Object.assign(schema, { minimum: -50, maximum: 1_000, multipleOf: pick(random, [3, 7, 0.5, 0.25, 10, 1]) });
  return schema;
}

function stringSchema(random: Random): Keywords {
  const schema: Keywords = { type: 'string' };
  if (random() < 0.3) schema.minLength = Math.floor(random() * 3);
  if (random() < 0.3) schema.maxLength = 1 + Math.floor(random() * 4);
  if (random() < 0.4) schema.pattern = pick(random, PATTERNS)[0];
  else if (random() < 0.15) schema.format = 'date';
  return schema;
}

function arraySchema(random: Random, depth: number): Keywords {
  const schema: Keywords = { type: 'array' };
  if (random() < 0.4) {
    schema.prefixItems = [randomSchema(random, depth - 2), randomSchema(random, depth - 2)];
    if (random() < 0.5) schema.items = false;
  }
  schema.items ??= random() < 0.8 ? randomSchema(random, depth - 1) : true;
  if (random() < 0.4) schema.minItems = Math.floor(random() * 3);
  if (random() < 0.5) schema.maxItems = Math.floor(random() * 4);
  return schema;
}

function objectSchema(random: Random, depth: number): Keywords {
  const names = some(random, NAMES, 3);
  const schema: Keywords = {
    type: 'object',
    properties: Object.fromEntries(names.map((name) => [name, randomSchema(random, depth - 1)])),
  };
  if (random() < 0.7) schema.required = names.filter(() => random() < 0.6);
  if (random() < 0.5) schema.additionalProperties = random() < 0.6 ? false : randomSchema(random, depth - 2);
  if (random() < 0.15) schema.patternProperties = { [pick(random, PATTERNS)[0]]: randomSchema(random, depth - 2) };
  if (random() < 0.1)
    schema.propertyNames = pick<JsonSchema>(random, [
      { pattern: '^[a-c]$' },
      { enum: ['a', 'b', 'tag'] },
      { maxLength: 1 },
    ]);
  if (random() < 0.1) schema.minProperties = 1 + Math.floor(random() * 2);
  if (random() < 0.1) schema.maxProperties = 1 + Math.floor(random() * 2);
  return schema;
}

/** A value that may well meet the schema. */
export function valueFor(
  random: Random,
  schema: unknown,
  definitions: Readonly<Record<string, JsonSchema>>,
  depth = 6,
): JsonValue {
  if (typeof schema !== 'object' || schema === null || depth <= 0 || random() < 0.06) return anything(random);
  const keywords = schema as Keywords;
  const inside = (part: unknown) => valueFor(random, part, definitions, depth - 1);
  if ('const' in keywords) return keywords.const as JsonValue;
  if (Array.isArray(keywords.enum)) return pick(random, keywords.enum as JsonValue[]);
  if (keywords.$ref !== undefined) return inside(definitions.node);
  if (keywords.if !== undefined) return inside(pick(random, [keywords.if, keywords.then, keywords.else]));
  const options = (keywords.oneOf ?? (keywords.properties === undefined ? keywords.anyOf : undefined)) as
    | unknown[]
    | undefined;
  if (options !== undefined) return inside(pick(random, options));
  if (Array.isArray(keywords.allOf)) {
    const parts = keywords.allOf.map(inside);
    return parts.every(isRecord) ? Object.assign({}, ...parts) : pick(random, parts);
  }
  switch (Array.isArray(keywords.type) ? pick(random, keywords.type) : keywords.type) {
    case 'number':
    case 'integer':
      return numberNear(random, keywords);
    case 'string': {
      const known = PATTERNS.find(([pattern]) => pattern === keywords.pattern);
      return pick(random, known === undefined ? TEXTS : random() < 0.85 ? known[1] : TEXTS);
    }
    case 'boolean':
      return random() < 0.5;
    case 'null':
      return null;
    case 'array': {
      const prefix = (keywords.prefixItems ?? []) as unknown[];
      const length = Math.floor(random() * 4);
      return Array.from({ length }, (_, i) => inside(prefix[i] ?? keywords.items));
    }
    case 'object': {
      const members: Record<string, JsonValue> = {};
      const required = (keywords.required ?? []) as string[];
      for (const [name, part] of Object.entries(keywords.properties as Keywords)) {
        if (random() < (required.includes(name) ? 0.95 : 0.5)) members[name] = inside(part);
      }
      if (random() < 0.2)
        members[pick(random, [...NAMES, 'tag', 'AB', 'abc'])] = inside(keywords.additionalProperties ?? true);
      return members;
    }
    default:
      return anything(random);
  }
}

function isRecord(value: JsonValue): value is { readonly [key: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function anything(random: Random): JsonValue {
  const chance = random();
  if (chance < 0.4) return pick(random, CONSTANTS);
  if (chance < 0.7) return pick(random, TEXTS);
  return pick(random, BOUNDS) * pick(random, [1, -1, 1.5]);
}

function numberNear(random: Random, schema: Keywords): number {
  const bounds = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'].flatMap((keyword) => {
    const bound = schema[keyword];
    return typeof bound === 'number' ? [bound] : [];
  });
  const near = pick(random, [...bounds, ...BOUNDS]);
  // Steps of the last digit disappear in the division by which ajv finds multiples.
  const [up, down] =
    schema.multipleOf === undefined ? [nudged(near, 1), nudged(near, -1)] : [near + 0.125, near - 0.125];
  const value = pick(random, [
    near,
    near + 1,
    near - 1,
    up,
    down,
    near / 2,
    Math.round(near),
    random() * 100,
    random(),
  ]);
  return Number.isFinite(value) ? value : near;
}

const view = new DataView(new ArrayBuffer(8));

/** The next double, away from 0 or towards it. */
function nudged(value: number, step: 1 | -1): number {
  if (value === 0) return step * 1e-307; // less would be 0 in the division by which ajv finds multiples
  view.setFloat64(0, value);
  view.setBigUint64(0, view.getBigUint64(0) + BigInt(step));
  return view.getFloat64(0);
}

/** Texts of a value: orders of properties, spellings of numbers and strings. At most `most`. */
export function textsOf(random: Random, value: JsonValue, most: number): string[] {
  const texts = new Set([write(value, JSON.stringify)]);
  for (let i = 1; i < most; i++) texts.add(write(value, (each) => spell(random, each)));
  return [...texts];
}

/** With the properties of every object in all orders, as far as `most` goes; spellings as they are. */
export function ordersOf(value: JsonValue, most: number): JsonValue[] {
  if (Array.isArray(value)) {
    return value.reduce<JsonValue[][]>(
      (lists, item: JsonValue) =>
        lists.flatMap((list) => ordersOf(item, most).map((each) => [...list, each])).slice(0, most),
      [[]],
    );
  }
  if (!isRecord(value)) return [value];
  const orders = permutations(Object.keys(value)).slice(0, most);
  return orders
    .flatMap((names) =>
      names.reduce<[string, JsonValue][][]>(
        (lists, name) =>
          lists
            .flatMap((list) =>
              ordersOf(value[name]!, most).map((each): [string, JsonValue][] => [...list, [name, each]]),
            )
            .slice(0, most),
        [[]],
      ),
    )
    .slice(0, most)
    .map((entries) => Object.fromEntries(entries));
}

function permutations(names: readonly string[]): string[][] {
  if (names.length <= 1) return [[...names]];
  return names.flatMap((name, i) => permutations(names.filter((_, j) => j !== i)).map((rest) => [name, ...rest]));
}

function write(value: JsonValue, scalar: (value: string | number | boolean | null) => string): string {
  if (Array.isArray(value)) return `[${value.map((item: JsonValue) => write(item, scalar)).join(',')}]`;
  if (isRecord(value))
    return `{${Object.entries(value)
      .map(([name, item]) => `${JSON.stringify(name)}:${write(item, scalar)}`)
      .join(',')}}`;
  return scalar(value as string | number | boolean | null);
}

function spell(random: Random, value: string | number | boolean | null): string {
  if (typeof value === 'string')
    return `"${Array.from(value, (character) => spellCharacter(random, character)).join('')}"`;
  if (typeof value !== 'number') return JSON.stringify(value);
  const plain = JSON.stringify(value);
  const scientific = value === 0 ? plain : value.toExponential();
  const zeros = /[.e]/.test(plain) ? plain : `${plain}.0`;
  return pick(random, [plain, scientific, scientific.replace('e+', 'E'), zeros]);
}

function spellCharacter(random: Random, character: string): string {
  const plain = JSON.stringify(character).slice(1, -1);
  if (random() < 0.7) return plain;
  if (character === '/') return '\\/';
  return character
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .map((spelling) => (random() < 0.5 ? spelling : spelling.toUpperCase().replace('U', 'u')))
    .join('');
}
