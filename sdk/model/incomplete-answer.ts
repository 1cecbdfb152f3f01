import { SdkError } from '../core/errors.js';

/** ERR_ANSWER_INCOMPLETE for an answer under a schema that the limit of tokens cut. */
export function incompleteAnswer(text: string, maxNewTokens: number): SdkError {
  return new SdkError(
    'ERR_ANSWER_INCOMPLETE',
    `Expected a whole answer within ${maxNewTokens} tokens but it is longer. Raise maxNewTokens or bound the schema (maxItems, maxLength). The text so far is in details.text.`,
    { details: { text, maxNewTokens } },
  );
}
