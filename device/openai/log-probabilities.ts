/** Probabilities of tokens in OpenAI's form. https://platform.openai.com/docs/api-reference/chat/object */
import type { Answer, TokenProbability } from 'scenebus';

/** null: nobody asked, or the answer was cut within its JSON. */
export function logprobsOf(answer: Answer | undefined) {
  return answer?.tokens === undefined ? null : { content: tokenLogprobs(answer), refusal: null };
}

/** One for each token of the text. */
export function tokenLogprobs({ tokens = [] }: Pick<Answer, 'tokens'>) {
  return tokens.map((token) => ({ ...logprob(token), top_logprobs: token.likeliest.map(logprob) }));
}

function logprob({ text, bytes, logProbability }: TokenProbability) {
  return { token: text, logprob: logProbability, bytes: [...bytes] };
}
