/** A question about one frame that somebody has in front of them, with the text as it is written. */
import { type CallOptions, type Frame, type JsonSchema, SdkError } from 'scenebus';
import { modelOf } from './answering-model.js';
import type { FeatureContext } from './context.js';
import { type TypedAnswer, type TypedQuestion, typedAnswer } from './typed-answer.js';
import type { EarlierTurn } from './writing.js';

export interface FrameQuestion extends CallOptions, TypedQuestion {
  readonly frame: Frame;
  /** undefined: the picture came from elsewhere. */
  readonly camera: string | undefined;
  /** Who asks; see `GenerateOptions.caller`. */
  readonly caller: string;
  /** What the answer must be; instead of an answer type. */
  readonly answerSchema?: JsonSchema | undefined;
  /** Left out: as the device has it. */
  readonly verify?: boolean | undefined;
  /** What was asked and answered about this frame before, oldest first; not with an answer type that is decided. */
  readonly earlier?: readonly EarlierTurn[] | undefined;
  readonly onText: (text: string) => void;
}

/**
 * The answer is an event before it comes back.
 * @throws SdkError ERR_BUSY, ERR_ENGINE_*, ERR_PROMPT_INVALID, ERR_SCHEMA_*, ERR_ANSWER_*, ERR_REQUEST_EXPIRED;
 *   `signal.reason` when aborted
 */
export async function askFrame(
  { config, hub, model }: Pick<FeatureContext, 'config' | 'hub' | 'model'>,
  { frame, camera, caller, answerSchema, verify, earlier, onText, signal, ...asked }: FrameQuestion,
): Promise<TypedAnswer> {
  const { maxNewTokens, timeoutMs } = config.ask;
  const about = { camera, frame };
  const { question } = asked;
  try {
    const result = await model.use(async (loaded) => {
      void hub.emit('frame', { frame }, about);
      const options = {
        maxNewTokens,
        verify: verify ?? config.ask.verify,
        deadlineMs: timeoutMs,
        priority: 'question',
        caller,
        signal,
        schema: answerSchema,
        schemaFrom: 'stranger',
      } as const;
      const answered = await typedAnswer(loaded, frame, asked, options, onText, earlier);
      return { answered, model: modelOf(loaded, answered) };
    }, signal ?? new AbortController().signal);
    const { answered } = result;
    const body = { verb: 'ask', question, answer: answered.answer, model: result.model, error: null };
    await hub.emit('answer', body, about);
    return answered;
  } catch (error) {
    if (error instanceof SdkError) {
      const { code, message, retryable } = error;
      const failure = { code, message, retryable };
      await hub.emit('answer', { verb: 'ask', question, answer: null, model: null, error: failure }, about);
    }
    throw error;
  }
}
