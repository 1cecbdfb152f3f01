/** A schema ready for use: what the caller gave, its grammar, and what checks an answer in the end. */
import { SdkError } from '../core/errors.js';
import type { LengthUnit } from './automata/dfa.js';
import { type CompileBounds, compileApart } from './compile-apart.js';
import { compileGrammar, type Grammar } from './rules.js';
import { type JsonSchema, type JsonValue, readSchema } from './schema/json-schema.js';
import { findMismatch } from './validate.js';

/** The part of a zod 4 schema that is used; any version of the package will do. */
export interface ZodLike<Value = unknown> {
  readonly '~standard': { readonly vendor: string; readonly types?: { readonly output: Value } | undefined };
  toJSONSchema(params?: { io?: 'input' | 'output'; unrepresentable?: 'throw' | 'any' }): unknown;
  safeParse(value: unknown): { success: true; data: Value } | { success: false; error: { message: string } };
}

/** A zod 4 schema, or a JSON Schema (draft 2020-12). */
export type SchemaInput = ZodLike | JsonSchema;
/** What an answer under a schema is. */
export type ValueOf<Schema> = Schema extends ZodLike<infer Value> ? Value : JsonValue;

export interface AnswerSchema {
  /** Equal schemas have equal keys. */
  readonly key: string;
  readonly jsonSchema: JsonSchema;
  readonly lengthUnit: LengthUnit;
  /** The value that a text is. @throws SdkError ERR_ANSWER_INVALID with `details.text` */
  parse(text: string): unknown;
}

/**
 * @param lengthUnit of a JSON Schema; zod's own counts UTF-16 units
 * @throws SdkError ERR_SCHEMA_INVALID, ERR_SCHEMA_UNSUPPORTED (a zod type that no JSON Schema describes), ERR_LIMIT_EXCEEDED
 */
export function answerSchema(input: SchemaInput, lengthUnit: LengthUnit = 'codePoints'): AnswerSchema {
  if (!isZod(input)) {
    const { schema, text } = readSchema(input);
    const check = (value: JsonValue) => {
      const mismatch = findMismatch(schema, value);
      if (mismatch === undefined) return { value };
      return {
        problem: `${mismatch.valuePath === '' ? 'it' : mismatch.valuePath} does not meet ${mismatch.schemaPath}`,
      };
    };
    return make(schema, text, lengthUnit, check);
  }
  // What the model writes goes into the schema: the input side of defaults and transforms.
  const { schema, text } = readSchema(jsonSchemaOf(input));
  return make(schema, text, 'utf16', (value) => {
    const result = input.safeParse(value);
    return result.success ? { value: result.data } : { problem: result.error.message };
  });
}

type Check = (value: JsonValue) => { readonly value: unknown } | { readonly problem: string };

function make(jsonSchema: JsonSchema, text: string, lengthUnit: LengthUnit, check: Check): AnswerSchema {
  const parse = (answer: string): unknown => {
    let value: JsonValue;
    try {
      value = JSON.parse(answer) as JsonValue;
    } catch (cause) {
      throw invalidAnswer(answer, `it is not JSON (${(cause as Error).message})`, cause);
    }
    const result = check(value);
    if ('problem' in result) throw invalidAnswer(answer, result.problem);
    return result.value;
  };
  return { key: `${lengthUnit} ${text}`, jsonSchema, lengthUnit, parse };
}

function isZod(input: SchemaInput): input is ZodLike {
  return (
    typeof input === 'object' &&
    input !== null &&
    '~standard' in input &&
    typeof (input as Partial<ZodLike>).toJSONSchema === 'function'
  );
}

function jsonSchemaOf(schema: ZodLike): unknown {
  try {
    const written = schema.toJSONSchema({ io: 'input' });
    closeObjects(written, false);
    return written;
  } catch (cause) {
    const message = `Expected a zod schema that JSON Schema can describe but: ${(cause as Error).message}. Use plain types, and transform the value afterwards.`;
    throw new SdkError('ERR_SCHEMA_UNSUPPORTED', message, { cause });
  }
}

/**
 * On the input side zod leaves objects open, because it strips what it does not know. A model has no reason to write
 * what will be stripped. Parts of an intersection stay open: each knows some of the properties only.
 */
function closeObjects(schema: unknown, open: boolean): void {
  if (typeof schema !== 'object' || schema === null) return;
  for (const [keyword, part] of Object.entries(schema)) {
    if (keyword === 'const' || keyword === 'enum' || keyword === 'default' || keyword === 'examples') continue;
    const parts = Array.isArray(part) ? part : isMap(keyword) ? Object.values(part as object) : [part];
    for (const each of parts) closeObjects(each, keyword === 'allOf');
  }
  const object = schema as Record<string, unknown>;
  if (!open && object.type === 'object' && object.properties !== undefined) object.additionalProperties ??= false;
}

function isMap(keyword: string): boolean {
  return ['properties', 'patternProperties', '$defs', 'definitions'].includes(keyword);
}

function invalidAnswer(text: string, problem: string, cause?: unknown): SdkError {
  return new SdkError('ERR_ANSWER_INVALID', `The answer does not meet its schema: ${problem}.`, {
    cause,
    details: { text, problem },
  });
}

/** Compiled grammars by schema, the last used last. */
export class GrammarCache {
  readonly #maxGrammars: number;
  readonly #grammars = new Map<string, Grammar>();

  constructor(maxGrammars = 32) {
    this.#maxGrammars = maxGrammars;
  }

  /**
   * @param trust `stranger`: compiled in a thread of its own, within bounds
   * @throws SdkError as `compileGrammar` and `compileApart`
   */
  async compile(schema: AnswerSchema, trust: 'caller' | 'stranger', bounds: CompileBounds = {}): Promise<Grammar> {
    const known = this.#grammars.get(schema.key);
    const request = { schema: schema.jsonSchema, lengthUnit: schema.lengthUnit };
    const grammar =
      known ??
      (trust === 'stranger' ? await compileApart(request, bounds) : compileGrammar(request.schema, request.lengthUnit));
    this.#grammars.delete(schema.key);
    this.#grammars.set(schema.key, grammar);
    if (this.#grammars.size > this.#maxGrammars) this.#grammars.delete(this.#grammars.keys().next().value!);
    return grammar;
  }
}
