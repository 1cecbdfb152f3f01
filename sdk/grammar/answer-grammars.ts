/** Schemas of one model: compiled once, and walked over its vocabulary. */
import { SdkError } from '../core/errors.js';
import type { CallOptions } from '../core/types.js';
import { type AnswerSchema, answerSchema, GrammarCache, type SchemaInput } from './answer-schema.js';
import { type CompileBounds, compileApart } from './compile-apart.js';
import { AnswerMatcher } from './matcher/answer-matcher.js';
import { Partitions } from './matcher/partition.js';
import { TokenGrammar } from './matcher/token-grammar.js';
import { type TokenBytes, TokenTrie } from './matcher/token-trie.js';

/** Each holds masks of up to 4 MB for a vocabulary of 128 256 tokens, 8 MB with names that the schema does not list. */
const MAX_TOKEN_GRAMMARS = 8;

/** A schema as a generation uses it. */
export interface PreparedSchema {
  /** For one answer: what may come next. */
  begin(): SchemaMask;
  /** @throws SdkError ERR_ANSWER_INVALID with `details.text` */
  parse(text: string): unknown;
}

/** The grammar of one answer in front of a sampler. */
export class SchemaMask {
  readonly #matcher: AnswerMatcher;

  constructor(matcher: AnswerMatcher) {
    this.#matcher = matcher;
  }

  /** What was written is a whole answer. */
  get isWhole(): boolean {
    return this.#matcher.isWhole;
  }

  /** Sets the logits of tokens that may not come now to -Infinity. */
  apply(logits: Float32Array): void {
    this.#matcher.apply(logits);
  }

  /** @throws SdkError ERR_INTERNAL for a token that the mask had excluded */
  accept(id: number): void {
    if (this.#matcher.accept(id)) return;
    throw new SdkError('ERR_INTERNAL', `Expected a token that the answer's schema allows but ${id} was chosen.`);
  }

  /** How many of these tokens may come one after the other: no more of a draft is worth verifying. */
  countAllowed(ids: readonly number[]): number {
    return this.#matcher.countAllowed(ids);
  }
}

/** Grammars of a vocabulary. The tree of its tokens is built with the first schema. */
export class AnswerGrammars {
  readonly #vocabulary: TokenBytes;
  readonly #endIds: readonly number[];
  readonly #compiled = new GrammarCache();
  readonly #walked = new Map<string, TokenGrammar>();
  #partitions: Partitions | undefined;
  #trie: TokenTrie | undefined;

  /** @param endIds tokens that end an answer */
  constructor(vocabulary: TokenBytes, endIds: Iterable<number>) {
    this.#vocabulary = vocabulary;
    this.#endIds = [...endIds];
  }

  /**
   * @param trust `stranger`: compiled in a thread of its own, within bounds of time and memory
   * @throws SdkError ERR_SCHEMA_INVALID, ERR_SCHEMA_UNSUPPORTED, ERR_SCHEMA_UNSATISFIABLE, ERR_LIMIT_EXCEEDED
   */
  async prepare(
    input: SchemaInput | AnswerSchema,
    trust: 'caller' | 'stranger',
    bounds: CompileBounds = {},
  ): Promise<PreparedSchema> {
    const schema = isAnswerSchema(input) ? input : answerSchema(input);
    const grammar = this.#walked.get(schema.key) ?? (await this.#walk(schema, trust, bounds));
    this.#walked.delete(schema.key);
    this.#walked.set(schema.key, grammar);
    if (this.#walked.size > MAX_TOKEN_GRAMMARS) this.#walked.delete(this.#walked.keys().next().value!);
    return {
      begin: () => new SchemaMask(new AnswerMatcher(grammar, this.#endIds)),
      parse: (text) => schema.parse(text),
    };
  }

  async #walk(schema: AnswerSchema, trust: 'caller' | 'stranger', bounds: CompileBounds): Promise<TokenGrammar> {
    const compiled = await this.#compiled.compile(schema, trust, bounds);
    this.#trie ??= new TokenTrie(this.#vocabulary);
    this.#partitions ??= new Partitions(this.#trie);
    return new TokenGrammar(compiled, this.#trie, this.#partitions);
  }
}

function isAnswerSchema(input: SchemaInput | AnswerSchema): input is AnswerSchema {
  return (
    typeof input === 'object' && typeof (input as Partial<AnswerSchema>).parse === 'function' && 'lengthUnit' in input
  );
}

/**
 * Whether a model's answer can be held to this schema, found out without a model: it is compiled in a thread of its own,
 * within bounds of time and memory. For what strangers send, before it is asked with.
 * @throws SdkError ERR_SCHEMA_INVALID, ERR_SCHEMA_UNSUPPORTED, ERR_SCHEMA_UNSATISFIABLE, ERR_LIMIT_EXCEEDED; all but the
 *   last with the place in `details.path` where it is known
 */
export async function checkAnswerSchema(schema: SchemaInput, { signal }: CallOptions = {}): Promise<void> {
  const { jsonSchema, lengthUnit } = answerSchema(schema);
  await compileApart({ schema: jsonSchema, lengthUnit }, { signal });
}
