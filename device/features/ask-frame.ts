/** A question about one frame that somebody has in front of them, with the text as it is written. */
import { type Answer, type CallOptions, type Frame, SdkError } from 'scenebus';
import type { FeatureContext } from './context.js';
import { write } from './writing.js';

export interface FrameQuestion extends CallOptions {
  readonly question: string;
  readonly frame: Frame;
  /** undefined: the picture came from elsewhere. */
  readonly camera: string | undefined;
  /** Who asks; see `GenerateOptions.caller`. */
  readonly caller: string;
  readonly onText: (text: string) => void;
}

/**
 * The answer is an event before it comes back.
 * @throws SdkError ERR_BUSY, ERR_ENGINE_*, ERR_PROMPT_INVALID, ERR_REQUEST_EXPIRED; `signal.reason` when aborted
 */
export async function askFrame(
  { config, hub, model }: Pick<FeatureContext, 'config' | 'hub' | 'model'>,
  { question, frame, camera, caller, onText, signal }: FrameQuestion,
): Promise<Answer> {
  const { maxNewTokens, timeoutMs } = config.ask;
  const about = { camera, frame };
  try {
    const result = await model.use(async (loaded) => {
      void hub.emit('frame', { frame }, about);
      const options = { maxNewTokens, deadlineMs: timeoutMs, priority: 'question', caller, signal } as const;
      const answer = await write(loaded, frame, question, options, onText);
      return { answer, model: { id: loaded.info.name, hash: loaded.info.contentHash } };
    }, signal ?? new AbortController().signal);
    await hub.emit('answer', { verb: 'ask', question, ...result, error: null }, about);
    return result.answer;
  } catch (error) {
    if (error instanceof SdkError) {
      const { code, message, retryable } = error;
      const failure = { code, message, retryable };
      await hub.emit('answer', { verb: 'ask', question, answer: null, model: null, error: failure }, about);
    }
    throw error;
  }
}
