/** Questions about what a camera sees now. */
import { type Frame, type GenerateOptions, SdkError, type VisionLanguageModel } from 'scenebus';
import type { AskContext, AskHandler, AskRequest, AskResult } from 'scenebus/bus';
import type { FeatureContext, Feed } from './context.js';

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
export type QuestionCall = Pick<AskContext, 'signal' | 'client'>;

export function startAsk(context: FeatureContext, questions: QuestionSource): Answering {
  // The answers to callers on the bus become events where it is known how they go back.
  const stop = questions.onAsk((request, call) => answer(context, request, call));
  return {
    async ask(request, call) {
      const result = await answer(context, request, call);
      const { camera, frame, answer: said, model } = result;
      const body = { verb: 'ask', question: request.question, answer: said, model, error: null };
      await context.hub.emit('answer', body, { camera, frame });
      return result;
    },
    [Symbol.dispose]: stop,
  };
}

async function answer(context: FeatureContext, request: AskRequest, call: QuestionCall): Promise<AskResult> {
  const { config, feeds, model, hub } = context;
  const { signal } = call;
  refuseUnsupported(request);
  const feed = chooseCamera(request.camera, feeds);
  // A camera that does not deliver must not hold up questions about the others: nobody has the model yet.
  const frame = await feed.latestFrame({ signal });
  if (config.ask.stale === 'refuse') requireCurrent(feed.noticesFor(frame));
  const options = {
    maxNewTokens: request.maxNewTokens ?? config.ask.maxNewTokens,
    deadlineMs: request.timeoutMs ?? config.ask.timeoutMs,
    temperature: request.temperature,
    seed: request.seed,
    schema: request.answerSchema,
    // Whoever is on the bus may send one.
    schemaFrom: 'stranger',
    priority: 'question',
    caller: call.client,
    signal,
  } as const;
  const result = await model.use(async (loaded) => {
    void hub.emit('frame', { frame }, { camera: feed.id, frame });
    const notices = feed.noticesFor(frame);
    const answer = await answerFrom(loaded, frame, request, options);
    return {
      answer: notices.length > 0 ? { ...answer, notices } : answer,
      model: { id: loaded.info.name, hash: loaded.info.contentHash },
    };
  }, signal);
  return { camera: feed.id, frame, ...result };
}

/** @throws SdkError ERR_CAPTURE_TIMEOUT */
function requireCurrent(notices: readonly string[]): void {
  if (notices.length === 0) return;
  const message = `Expected a picture of now. ${notices.join(' ')} Questions about such pictures are refused by the setting ask.stale.`;
  throw new SdkError('ERR_CAPTURE_TIMEOUT', message);
}

/** An answer of the type that was asked for: decided from probabilities where there are only a few. */
async function answerFrom(
  model: VisionLanguageModel,
  frame: Frame,
  request: AskRequest,
  options: GenerateOptions,
): Promise<AskResult['answer']> {
  const { question, answerType } = request;
  if (answerType === undefined || answerType === 'text') return await model.ask(frame, question, options);
  const { priority, caller, deadlineMs, signal } = options;
  const among = answerType === 'choice' ? { type: answerType, choices: request.choices ?? [] } : { type: answerType };
  const decision = await model.decide(frame, question, among, { priority, caller, deadlineMs, signal });
  const { value, probability, usage, timings } = decision;
  const text = typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value);
  return { text, objects: [], finishReason: 'stop', usage, timings, value, probability };
}

/** What the contract has and this device does not do yet is refused, so that nobody takes the answer for what it is not. */
function refuseUnsupported(request: AskRequest): void {
  if (request.frameId !== undefined) {
    throw new SdkError('ERR_REQUEST_UNSUPPORTED', 'This device does not honour "frameId" yet; leave it out.');
  }
  const isDecided = request.answerType !== undefined && request.answerType !== 'text';
  for (const field of ['temperature', 'seed', 'maxNewTokens'] as const) {
    if (!isDecided || request[field] === undefined) continue;
    const message = `Expected no "${field}" beside the answer type "${request.answerType}", which is decided without writing; leave it out.`;
    throw new SdkError('ERR_REQUEST_UNSUPPORTED', message);
  }
}

function chooseCamera(id: string | undefined, feeds: readonly Feed[]): Feed {
  const found = id === undefined ? feeds[0] : feeds.find((feed) => feed.id === id);
  if (found !== undefined && (id !== undefined || feeds.length === 1)) return found;
  const known = feeds.map((feed) => feed.id).join(', ');
  const came = id === undefined ? 'the question names none' : `received ${JSON.stringify(id)}`;
  throw new SdkError('ERR_REQUEST_INVALID', `Expected "camera" to be one of ${known}, but ${came}.`);
}
