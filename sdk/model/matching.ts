/**
 * Pictures and texts that belong together, by the model's own likelihood: how much more probable a text is about a picture
 * than about none, for each of its tokens.
 */
import { SdkError } from '../core/errors.js';
import { linkedAbort } from '../core/linked-abort.js';
import type { LikelihoodOptions, ModelImage, TextLikelihood, VisionLanguageModel } from './types.js';

/** What matching needs of a model. */
export type MatchingModel = Pick<VisionLanguageModel, 'likelihood'>;

/** How well a text and a picture go together. */
export interface Match {
  /**
   * Natural logarithm, for each token: of the text about the picture, less that of the text about nothing. Above 0: the
   * picture makes the text more probable. Comparable between pictures for one text, and roughly between texts.
   */
  readonly score: number;
}

/** A text, and how well it fits the picture. */
export interface TextMatch extends Match {
  readonly text: string;
}

/** A picture, and how well it fits the text. */
export interface ImageMatch<Source> extends Match {
  readonly source: Source;
}

/** Pictures under way at once: engines that compute several sequences together do. */
const AT_ONCE = 4;

/**
 * Sentences about a picture, the one that fits best first.
 * @param texts 1 to 256, as a description would begin with them
 * @throws SdkError as `likelihood`
 *
 * @example
 * const [best] = await rankTexts(model, frame, ['A red cup on a table.', 'An empty table.']);
 */
export async function rankTexts(
  model: MatchingModel,
  image: ModelImage,
  texts: readonly string[],
  options: LikelihoodOptions = {},
): Promise<readonly TextMatch[]> {
  const said = texts.map(asSentence);
  const [about, before] = [
    await model.likelihood(image, said, options),
    await model.likelihood(undefined, said, options),
  ];
  return texts
    .map((text, i) => ({ text, score: scoreOf(about.texts[i]!, before.texts[i]!) }))
    .sort((a, b) => b.score - a.score);
}

/**
 * Pictures by how well a text fits them, the best first. What `open` rejects with for one picture rejects the whole: give
 * undefined for one that cannot be had, and it is left out.
 * @param open decodes one; at most four are in memory
 * @throws SdkError as `likelihood`
 *
 * @example
 * const [best] = await rankImages(model, 'a red cup near the book', files, (file) => decodeImage(file));
 */
export async function rankImages<Source>(
  model: MatchingModel,
  text: string,
  sources: readonly Source[],
  open: (source: Source) => Promise<ModelImage | undefined>,
  options: LikelihoodOptions = {},
): Promise<readonly ImageMatch<Source>[]> {
  const said = [asSentence(text)];
  const { texts: prior } = await model.likelihood(undefined, said, options);
  const found: { readonly at: number; readonly match: ImageMatch<Source> }[] = [];
  using abort = linkedAbort([options.signal]);
  const queue = sources.entries();
  const work = async (number: number): Promise<void> => {
    for (const [at, source] of queue) {
      abort.signal.throwIfAborted();
      const image = await open(source);
      if (image === undefined) continue;
      // Requests of one caller run one after another.
      const caller = `${options.caller ?? ''} ${number}`;
      const { texts } = await model.likelihood(image, said, { ...options, caller, signal: abort.signal });
      found.push({ at, match: { source, score: scoreOf(texts[0]!, prior[0]!) } });
    }
  };
  const workers = Array.from({ length: AT_ONCE }, (_, number) =>
    work(number).catch((error: unknown) => {
      abort.abort(error);
      throw error;
    }),
  );
  await Promise.allSettled(workers);
  await Promise.all(workers);
  return found.sort((a, b) => b.match.score - a.match.score || a.at - b.at).map(({ match }) => match);
}

function scoreOf(about: TextLikelihood, before: TextLikelihood): number {
  return (about.logProbability - before.logProbability) / about.tokens;
}

/** Models describe in sentences: what people type is one once it has a capital. @throws SdkError ERR_PROMPT_INVALID */
function asSentence(text: string): string {
  const trimmed = typeof text === 'string' ? text.trim() : '';
  if (trimmed === '')
    throw new SdkError('ERR_PROMPT_INVALID', 'Expected a text to match with pictures but it is empty.');
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
}
