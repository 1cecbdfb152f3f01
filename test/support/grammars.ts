/** Grammars over bytes, for tests of what a schema admits. */
import { matchesText } from '#sdk/grammar/matcher/answer-matcher.js';
import { TokenGrammar } from '#sdk/grammar/matcher/token-grammar.js';
import { TokenTrie } from '#sdk/grammar/matcher/token-trie.js';
import { compileGrammar } from '#sdk/grammar/rules.js';
import type { JsonSchema } from '#sdk/grammar/schema/json-schema.js';

export const BYTES = new TokenTrie({ vocabularySize: 256, bytesOf: (id) => Uint8Array.of(id) });

/** Whether the grammar of a schema admits a text. */
export function admitting(schema: JsonSchema): (text: string) => boolean {
  const grammar = new TokenGrammar(compileGrammar(schema), BYTES);
  return (text) => matchesText(grammar, text);
}
