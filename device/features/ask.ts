/** Questions about what a camera sees now. */
import { SdkError } from 'scenebus';
import type { AskContext, AskHandler, AskRequest, AskResult } from 'scenebus/bus';
import { modelOf } from './answering-model.js';
import type { FeatureContext } from './context.js';
import { withNotices } from './noticed.js';
import { Pictures } from './pictures.js';
import { priorityOf } from './request-priority.js';
import { typedAnswer } from './typed-answer.js';

/** Where questions come from. */
export interface QuestionSource {
  /** Returns a function that takes the handler away. */
  onAsk(handler: AskHandler): () => void;
}

/** Answers what `questions` brings, until it is disposed. Who asks from within this process asks here. */
export interface Answering extends Disposable {
  /**
   * The answer is an event before it comes back.
   * @throws SdkError ERR_REQUEST_INVALID (no such camera), ERR_BUSY, ERR_CAPTURE_*, ERR_ENGINE_*, ERR_PROMPT_INVALID,
   *   ERR_REQUEST_EXPIRED; `call.signal.reason` when aborted.
   */
  ask(request: AskRequest, call: QuestionCall): Promise<AskResult>;
}

/** What matters of a call: the bus gives more. */
export type QuestionCall = Pick<AskContext, 'signal' | 'client'> & Partial<Pick<AskContext, 'partial'>>;

export function startAsk(
  context: FeatureContext,
  questions: QuestionSource,
  pictures: Pictures = new Pictures(context),
): Answering {
  // The answers to callers on the bus become events where it is known how they go back.
  const stop = questions.onAsk((request, call) => answer(context, pictures, request, call));
  return {
    async ask(request, call) {
      const result = await answer(context, pictures, request, call);
      const { camera, frame, answer: said, model } = result;
      const body = { verb: 'ask', question: request.question, answer: said, model, error: null };
      await context.hub.emit('answer', body, { camera, frame });
      return result;
    },
    [Symbol.dispose]: stop,
  };
}

async function answer(
  context: FeatureContext,
  pictures: Pictures,
  request: AskRequest,
  call: QuestionCall,
): Promise<AskResult> {
  const { config, model, hub } = context;
  const { signal } = call;
  refuseUnsupported(request);
  const { feed, frame } = await pictures.of(request, call);
  const options = {
    maxNewTokens: request.maxNewTokens ?? config.ask.maxNewTokens,
    deadlineMs: request.timeoutMs ?? config.ask.timeoutMs,
    temperature: request.temperature,
    seed: request.seed,
    verify: request.verify ?? config.ask.verify,
    schema: request.answerSchema,
    // Whoever is on the bus may send one.
    schemaFrom: 'stranger',
    priority: priorityOf(request),
    caller: call.client,
    signal,
  } as const;
  const result = await model.use(async (loaded) => {
    void hub.emit('frame', { frame }, { camera: feed.id, frame });
    const notices = [...feed.noticesFor(frame), ...loaded.info.notices];
    const { answer, ...whose } = await typedAnswer(loaded, frame, request, options, call.partial);
    return {
      answer: withNotices(answer, notices),
      model: modelOf(loaded, whose),
    };
  }, signal);
  const tracked = context.tracks.find(feed.id, frame, result.answer.objects);
  const objects = await context.places.locate(feed.config, frame, tracked);
  return { camera: feed.id, frame, ...result, answer: { ...result.answer, objects } };
}

/** What the contract has and this device does not do yet is refused, so that nobody takes the answer for what it is not. */
function refuseUnsupported(request: AskRequest): void {
  const isDecided = request.answerType !== undefined && request.answerType !== 'text';
  for (const field of ['temperature', 'seed', 'maxNewTokens', 'verify'] as const) {
    if (!isDecided || request[field] === undefined || request[field] === false) continue;
    const message = `Expected no "${field}" beside the answer type "${request.answerType}", which is decided without writing; leave it out.`;
    throw new SdkError('ERR_REQUEST_UNSUPPORTED', message);
  }
}
