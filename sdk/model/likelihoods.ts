/** Texts whose likelihood is wanted: as tokens, and as what callers see. */
import { SdkError } from '../core/errors.js';
import type { Inference } from '../inference/inference.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { Likelihoods } from './types.js';

const MOST_TEXTS = 256;

/** @throws SdkError ERR_ARGUMENT_INVALID, ERR_LIMIT_EXCEEDED */
export function tokensOfTexts(texts: readonly string[], tokenizer: Pick<Tokenizer, 'encodeText'>): Int32Array[] {
  const isList = Array.isArray(texts) && texts.length > 0;
  const wrong = isList ? texts.find((text) => typeof text !== 'string' || text === '') : texts;
  if (!isList || wrong !== undefined) {
    const received = wrong === '' ? 'an empty one' : JSON.stringify(wrong);
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected texts, none of them empty, but received ${received}.`);
  }
  if (texts.length > MOST_TEXTS) {
    const message = `Expected at most ${MOST_TEXTS} texts but received ${texts.length}. Ask for them in several calls.`;
    throw new SdkError('ERR_LIMIT_EXCEEDED', message, { details: { maximum: MOST_TEXTS, received: texts.length } });
  }
  return texts.map((text) => Int32Array.from(tokenizer.encodeText(text)));
}

/** @throws SdkError ERR_CONTEXT_OVERFLOW */
export function requireRoom(promptTokens: number, textTokens: number, contextLength: number): void {
  if (promptTokens + textTokens <= contextLength) return;
  const message = `Expected a prompt and a text of at most ${contextLength} tokens together but they have ${promptTokens} and ${textTokens}. Shorten the text or load the model with a larger contextLength.`;
  throw new SdkError('ERR_CONTEXT_OVERFLOW', message, { details: { contextLength, promptTokens, textTokens } });
}

/** What came of it, in the form of other calls. */
export function likelihoodsOf(
  texts: readonly string[],
  tokens: readonly Int32Array[],
  output: Awaited<ReturnType<Inference['likelihood']>>,
  { promptTokens, startedMs }: { readonly promptTokens: number; readonly startedMs: number },
): Likelihoods {
  const { logProbabilities, reusedTokens, reusedImages, geometries, preemptions } = output;
  const { queueMs, imageMs, prefillMs, textsMs, engineCalls } = output;
  const nothing = { generatedTokens: 0, draftedTokens: 0, acceptedTokens: 0 };
  return {
    texts: texts.map((text, i) => ({ text, logProbability: logProbabilities[i]!, tokens: tokens[i]!.length })),
    usage: { ...nothing, promptTokens, reusedTokens, images: geometries.length, reusedImages, preemptions },
    timings: {
      ...{ queueMs, imageMs, prefillMs, engineCalls, decodeMs: textsMs, tokensPerSecond: 0 },
      timeToFirstTokenMs: imageMs + prefillMs,
      totalMs: performance.now() - startedMs,
    },
  };
}
