/** Reads and checks `tokenizer.json` and `tokenizer_config.json`; the library that uses them trusts its input. */
import { join } from 'node:path';
import { SdkError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { BYTE_CHARACTERS } from './byte-level.js';
import { parseJsonObject, readTextFile } from './text-file.js';

/** Ids index arrays, so a wild one would cost memory. Published vocabularies stay below 300 000. */
const MAX_TOKEN_ID = 2 ** 22;

export interface AddedTokenEntry {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

export interface TokenizerFiles {
  readonly tokenizerJson: Record<string, unknown>;
  readonly tokenizerConfig: Record<string, unknown>;
  /** Tokens with a role, by the name of the role: `eos_token` → `<|eot_id|>`. */
  readonly namedTokens: ReadonlyMap<string, string>;
  readonly addedTokens: readonly AddedTokenEntry[];
  /** Highest id + 1, added tokens included. */
  readonly vocabularySize: number;
}

/**
 * @throws SdkError ERR_MODEL_NOT_FOUND without tokenizer.json, ERR_TOKENIZER_INVALID for malformed content,
 * ERR_MODEL_UNSUPPORTED for a kind of tokenizer that this architecture never has, ERR_LIMIT_EXCEEDED.
 */
export async function readTokenizerFiles(directory: string): Promise<TokenizerFiles> {
  const path = join(directory, 'tokenizer.json');
  const text = await readTextFile(path, LIMITS.tokenizerFileBytes);
  if (text === undefined) {
    throw new SdkError(
      'ERR_MODEL_NOT_FOUND',
      `Expected tokenizer.json in ${directory} but there is none. Copy the tokenizer files of the checkpoint into the folder.`,
      { details: { path } },
    );
  }
  const tokenizerJson = parseJsonObject(text, path);
  const configPath = join(directory, 'tokenizer_config.json');
  const configText = await readTextFile(configPath, LIMITS.configFileBytes);
  const tokenizerConfig = configText === undefined ? {} : parseJsonObject(configText, configPath);

  const mapPath = join(directory, 'special_tokens_map.json');
  const mapText = await readTextFile(mapPath, LIMITS.configFileBytes);
  const specialTokensMap = mapText === undefined ? {} : parseJsonObject(mapText, mapPath);

  const model = objectAt(tokenizerJson, 'model', path);
  if (model.type !== undefined && model.type !== 'BPE') {
    throw unsupported(path, `model type BPE but received ${JSON.stringify(model.type)}`);
  }
  if (!mentionsByteLevel(tokenizerJson.decoder) || !mentionsByteLevel(tokenizerJson.pre_tokenizer)) {
    throw unsupported(path, 'a ByteLevel pre-tokenizer and decoder but at least one is missing');
  }
  const vocabulary = objectAt(model, 'vocab', path);
  let vocabularySize = 0;
  for (const [token, id] of Object.entries(vocabulary)) {
    vocabularySize = Math.max(vocabularySize, checkedId(id, token, path) + 1);
  }
  const missing = BYTE_CHARACTERS.filter((character) => !Object.hasOwn(vocabulary, character));
  if (missing.length > 0) {
    throw invalid(
      path,
      `all 256 bytes in the vocabulary but ${missing.length} are missing; some text could not be written`,
    );
  }
  if (!Array.isArray(model.merges) || !model.merges.every(isMerge)) {
    throw invalid(path, 'model.merges to be an array of "left right" strings or [left, right] pairs');
  }
  const addedTokens = readAddedTokens(tokenizerJson.added_tokens, path);
  for (const token of addedTokens) vocabularySize = Math.max(vocabularySize, token.id + 1);
  tokenizerJson.added_tokens ??= [];
  const namedTokens = namedTokensOf(specialTokensMap, tokenizerConfig);
  return { tokenizerJson, tokenizerConfig, namedTokens, addedTokens, vocabularySize };
}

const TOKEN_ROLES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/** Older writers keep them in a file of their own; `tokenizer_config.json` is the one that counts. */
function namedTokensOf(...sources: readonly Record<string, unknown>[]): Map<string, string> {
  const named = new Map<string, string>();
  for (const source of sources) {
    for (const role of TOKEN_ROLES) {
      const name = tokenName(source[role]);
      if (name !== undefined) named.set(role, name);
      else if (source[role] === null) named.delete(role);
    }
  }
  return named;
}

/** `"<|begin_of_text|>"` or `{ "content": "<|begin_of_text|>", … }`. */
function tokenName(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : undefined;
}

function readAddedTokens(value: unknown, path: string): AddedTokenEntry[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(path, 'added_tokens to be an array');
  return value.map((entry: unknown) => {
    const token = entry as Partial<AddedTokenEntry> | null;
    if (typeof token?.content !== 'string' || token.content === '') {
      throw invalid(path, 'every added token to have a non-empty content');
    }
    return { id: checkedId(token.id, token.content, path), content: token.content, special: token.special === true };
  });
}

function checkedId(id: unknown, token: string, path: string): number {
  if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= MAX_TOKEN_ID) {
    throw invalid(
      path,
      `an id between 0 and ${MAX_TOKEN_ID - 1} for token ${JSON.stringify(token)} but received ${String(id)}`,
    );
  }
  return id;
}

function isMerge(merge: unknown): boolean {
  if (typeof merge === 'string') return merge.includes(' ');
  return Array.isArray(merge) && merge.length === 2 && merge.every((part) => typeof part === 'string');
}

function mentionsByteLevel(part: unknown): boolean {
  if (typeof part !== 'object' || part === null) return false;
  const { type, pretokenizers, decoders } = part as { type?: unknown; pretokenizers?: unknown; decoders?: unknown };
  if (type === 'ByteLevel') return true;
  const inner = pretokenizers ?? decoders;
  return type === 'Sequence' && Array.isArray(inner) && inner.some(mentionsByteLevel);
}

function objectAt(parent: Record<string, unknown>, key: string, path: string): Record<string, unknown> {
  const value = parent[key];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(path, `an object "${key}"`);
  return value as Record<string, unknown>;
}

function invalid(path: string, expected: string): SdkError {
  return new SdkError('ERR_TOKENIZER_INVALID', `Expected ${expected} in ${path}.`, { details: { path } });
}

function unsupported(path: string, expected: string): SdkError {
  return new SdkError(
    'ERR_MODEL_UNSUPPORTED',
    `Expected ${expected} in ${path}: Llama 3 tokenizers are byte-level BPE.`,
    {
      details: { path },
    },
  );
}
