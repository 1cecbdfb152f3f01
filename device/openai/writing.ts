/** A model's answer as an API hands it on: whole, or piece by piece with errors that come first still as a status. */
import { type Answer, isSdkError, type TokenStream } from 'scenebus';

/** How an answer ended. */
export interface Written {
  readonly text: string;
  readonly finishReason: 'stop' | 'length';
  /** undefined: it was to be JSON by a schema, and the limit of tokens came first. */
  readonly answer?: Answer | undefined;
}

/** @throws what ends a generation, other than its limit of tokens */
export async function writtenWhole(stream: TokenStream): Promise<Written> {
  try {
    const answer = await stream.collect();
    return { text: answer.text, finishReason: answer.finishReason, answer };
  } catch (error) {
    return cutShort(error);
  }
}

/**
 * Resolves when there is a first piece, so that whoever is refused gets a status.
 * @throws as `writtenWhole`, here and while it is read
 */
export async function writtenByPieces(stream: TokenStream): Promise<AsyncGenerator<string, Written, void>> {
  const pieces = stream[Symbol.asyncIterator]();
  let first: IteratorResult<string>;
  try {
    first = await pieces.next();
  } catch (error) {
    cutShort(error);
    first = { done: true, value: undefined };
  }
  return (async function* () {
    try {
      for (let next = first; !next.done; next = await pieces.next()) yield next.value;
    } catch (error) {
      return cutShort(error);
    } finally {
      await pieces.return?.();
    }
    return await writtenWhole(stream);
  })();
}

/** The SDK refuses half a JSON document; these APIs hand it out and say `length`. */
function cutShort(error: unknown): Written {
  if (isSdkError(error, 'ERR_ANSWER_INCOMPLETE') && error.details.maxNewTokens !== undefined)
    return { text: String(error.details.text), finishReason: 'length' };
  throw error;
}
