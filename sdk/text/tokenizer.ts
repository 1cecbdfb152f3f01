/** Text to token ids and back. The border that keeps strangers' text from ever becoming a special token. */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { SdkError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { bytesOfToken } from './byte-level.js';
import { readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.js';

export interface Tokenizer {
  /** Highest token id + 1, specials included. */
  readonly vocabularySize: number;
  /** Added tokens by their text: `<|eot_id|>` → 128009. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /** Starts every prompt; undefined when the tokenizer names none. */
  readonly bosTokenId: number | undefined;
  /** Ends a turn as the tokenizer's author has it; undefined when the tokenizer names none, or one that it has not. */
  readonly eosTokenId: number | undefined;
  /** Tokens with a role, by the name of the role: `eos_token` → `<|eot_id|>`. What chat templates are given. */
  readonly namedTokens: ReadonlyMap<string, string>;
  /** `tokenizer_config.json`, for the chat template. */
  readonly config: Readonly<Record<string, unknown>>;
  /**
   * Ids of text by a user, a document, a camera label: special tokens in it are never parsed, their letters are
   * encoded instead. Adds nothing (no BOS).
   * @throws SdkError ERR_LIMIT_EXCEEDED for text longer than `LIMITS.promptCharacters`.
   */
  encodeText(text: string): number[];
  /** Ids of text that the checkpoint's author wrote: special tokens are parsed. Never pass user text. Adds nothing. */
  encodeTemplate(text: string): number[];
  /** Text of ids; special tokens and unknown ids are left out, broken UTF-8 becomes U+FFFD. */
  decode(ids: Iterable<number>): string;
  specialTokenId(name: string): number | undefined;
  /** UTF-8 bytes that a token writes, perhaps part of a character; empty for special tokens and unknown ids. */
  bytesOf(id: number): Uint8Array;
}

/** The parts of the library's tokenizer that are used here (its declarations do not resolve under NodeNext). */
interface LibraryTokenizer {
  readonly normalizer: ((text: string) => string) | null;
  readonly pre_tokenizer: ((text: string) => string[]) | null;
  readonly model: ((words: string[]) => string[]) & { readonly tokens_to_ids: ReadonlyMap<string, number> };
  tokenize(text: string, options: { add_special_tokens: boolean }): string[];
  id_to_token(id: number): string | undefined;
}

/**
 * Reads `tokenizer.json` and `tokenizer_config.json` of a checkpoint folder (Hugging Face byte-level BPE).
 * @throws SdkError ERR_MODEL_NOT_FOUND, ERR_TOKENIZER_INVALID, ERR_MODEL_UNSUPPORTED, ERR_LIMIT_EXCEEDED
 */
export async function loadTokenizer(directory: string): Promise<Tokenizer> {
  const files = await readTokenizerFiles(directory);
  let library: LibraryTokenizer;
  try {
    library = new HuggingFaceTokenizer(files.tokenizerJson, files.tokenizerConfig) as unknown as LibraryTokenizer;
  } catch (error) {
    throw new SdkError(
      'ERR_TOKENIZER_INVALID',
      `Expected a tokenizer that @huggingface/tokenizers can build from ${directory} but it failed: ${(error as Error).message}.`,
      { cause: error, details: { directory } },
    );
  }
  return new ByteLevelTokenizer(library, files);
}

const NO_BYTES = new Uint8Array(0);

class ByteLevelTokenizer implements Tokenizer {
  readonly vocabularySize: number;
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  readonly namedTokens: ReadonlyMap<string, string>;
  readonly config: Readonly<Record<string, unknown>>;
  readonly #library: LibraryTokenizer;
  readonly #idOfToken: ReadonlyMap<string, number>;
  /** Added tokens that are not special write their content, everything else special writes nothing. */
  readonly #addedBytes = new Map<number, Uint8Array>();

  constructor(library: LibraryTokenizer, files: TokenizerFiles) {
    this.#library = library;
    this.#idOfToken = library.model.tokens_to_ids;
    this.vocabularySize = files.vocabularySize;
    this.config = files.tokenizerConfig;
    this.specialTokens = new Map(files.addedTokens.map(({ content, id }) => [content, id]));
    for (const { id, content, special } of files.addedTokens) {
      this.#addedBytes.set(id, special ? NO_BYTES : new TextEncoder().encode(content));
    }
    this.namedTokens = files.namedTokens;
    this.bosTokenId = this.specialTokens.get(this.namedTokens.get('bos_token') ?? '<|begin_of_text|>');
    const eos = this.namedTokens.get('eos_token');
    this.eosTokenId = eos === undefined ? undefined : (this.specialTokens.get(eos) ?? this.#idOfToken.get(eos));
  }

  encodeText(text: string): number[] {
    if (text.length > LIMITS.promptCharacters) {
      throw new SdkError(
        'ERR_LIMIT_EXCEEDED',
        `Expected text of at most ${LIMITS.promptCharacters} characters but received ${text.length}. Shorten it.`,
        { details: { maxCharacters: LIMITS.promptCharacters, characters: text.length } },
      );
    }
    if (text === '') return [];
    // The library's own encode() always looks for added tokens first; its parts, called in order, never do.
    const normalized = this.#library.normalizer ? this.#library.normalizer(text) : text;
    const words = this.#library.pre_tokenizer ? this.#library.pre_tokenizer(normalized) : [normalized];
    return this.#library.model(words).flatMap((token) => this.#textIds(token));
  }

  /** A word that spells a special token exactly would be found in the vocabulary as a whole: write its letters. */
  #textIds(token: string): number[] {
    const id = this.#knownId(token);
    if (!this.#addedBytes.has(id)) return [id];
    return Array.from(token, (character) => {
      const characterId = this.#knownId(character);
      if (!this.#addedBytes.has(characterId)) return characterId;
      throw new SdkError(
        'ERR_TOKENIZER_INVALID',
        `Expected the byte ${JSON.stringify(character)} to be an ordinary token but it is a special one; text cannot be encoded safely.`,
      );
    });
  }

  #knownId(token: string): number {
    const id = this.#idOfToken.get(token);
    if (id !== undefined) return id;
    throw new SdkError(
      'ERR_TOKENIZER_INVALID',
      `Expected token ${JSON.stringify(token)} in the vocabulary but it is missing.`,
    );
  }

  encodeTemplate(text: string): number[] {
    if (text === '') return [];
    return this.#library.tokenize(text, { add_special_tokens: false }).map((token) => this.#knownId(token));
  }

  decode(ids: Iterable<number>): string {
    const parts: Uint8Array[] = [];
    for (const id of ids) parts.push(this.bytesOf(id));
    return Buffer.concat(parts).toString('utf8');
  }

  specialTokenId(name: string): number | undefined {
    return this.specialTokens.get(name);
  }

  bytesOf(id: number): Uint8Array {
    const added = this.#addedBytes.get(id);
    if (added !== undefined) return added;
    const token = this.#library.id_to_token(id);
    return token === undefined ? NO_BYTES : (bytesOfToken(token) ?? new TextEncoder().encode(token));
  }
}
