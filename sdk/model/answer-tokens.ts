/** Tokens as callers see them: text and bytes instead of numbers. */
import type { LikelyToken } from '../inference/likeliest-tokens.js';
import type { GeneratedToken } from '../inference/written-text.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { AnswerToken, TokenProbability } from './types.js';

/** @param text of the answer; what was written behind its end (a stop string) is left out */
export function answerTokens(
  tokens: readonly GeneratedToken[],
  text: string,
  tokenizer: Pick<Tokenizer, 'bytesOf' | 'specialTokens'>,
): AnswerToken[] {
  const specials = new Map([...tokenizer.specialTokens].map(([name, id]) => [id, name]));
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const told = ({ id, logProbability }: LikelyToken): TokenProbability => {
    const bytes = tokenizer.bytesOf(id);
    const written = bytes.length === 0 ? (specials.get(id) ?? '') : decoder.decode(bytes);
    return { text: written, bytes, logProbability };
  };
  return tokens
    .filter(({ start }) => start < text.length)
    .map((token) => ({ ...told(token), likeliest: token.likeliest.map(told) }));
}
