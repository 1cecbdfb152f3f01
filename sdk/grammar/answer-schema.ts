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
 * @throws SdkError ERR_SCHEMA_INVALID, ERR_SCHEMA_UNSUPPORTED (a zod type that no JSON Schema describes), ERR_LIMIT_EXCEEDED
 */
export function answerSchema(input: SchemaInput): AnswerSchema {
  if (!isZod(input)) {
    const { schema, text } = readSchema(input);
    const check = (value: JsonValue) => {
      const mismatch = findMismatch(schema, value);
      if (mismatch === undefined) return { value };
      return { problem: `${mismatch.valuePath === '' ? 'it' : mismatch.valuePath} does not meet ${mismatch.schemaPath}` };
    };
    return make(schema, text, 'codePoints', check);
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
      throw invalidAnswer(answer, `it is no JSON (${(cause as Error).message})`, cause);
    }
    const result = check(value);
    if ('problem' in result) throw invalidAnswer(answer, result.problem);
    return result.value;
  };
  return { key: `${lengthUnit} ${text}`, jsonSchema, lengthUnit, parse };
}

function isZod(input: SchemaInput): input is ZodLike {
  return typeof input === 'object' && input !== null && '~standard' in input && typeof (input as Partial<ZodLike>).toJSONSchema === 'function';
}

function jsonSchemaOf(schema: ZodLike): unknown {
  try {
    return schema.toJSONSchema({ io: 'input' });
  } catch (cause) {
    const message = `Expected a zod schema that JSON Schema can describe but: ${(cause as Error).message}. Use plain types, and transform the value afterwards.`;
    throw new SdkError('ERR_SCHEMA_UNSUPPORTED', message, { cause });
  }
}

function invalidAnswer(text: string, problem: string, cause?: unknown): SdkError {
  return new SdkError('ERR_ANSWER_INVALID', `The answer does not meet its schema: ${problem}.`, { cause, details: { text, problem } });
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
      known ?? (trust === 'stranger' ? await compileApart(request, bounds) : compileGrammar(request.schema, request.lengthUnit));
    this.#grammars.delete(schema.key);
    this.#grammars.set(schema.key, grammar);
    if (this.#grammars.size > this.#maxGrammars) this.#grammars.delete(this.#grammars.keys().next().value!);
    return grammar;
  }
}
