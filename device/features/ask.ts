import { type AskContext, type AskRequest, type AskResult, SdkError } from 'scenebus';
import type { CameraFeed } from '../app/camera-feed.js';
import type { ModelSupervisor } from '../app/model-supervisor.js';
import type { Scheduler } from '../app/scheduler.js';
import type { DeviceConfig } from '../config/schema.js';
import type { UsageTotals } from './usage-totals.js';

export interface QuestionAnswererOptions {
  readonly feeds: readonly CameraFeed[];
  readonly settings: DeviceConfig['ask'];
  readonly model: ModelSupervisor;
  readonly scheduler: Scheduler;
  readonly usage: UsageTotals;
}

/**
 * Answers one question about the newest frame at the moment when the model is free; says so when that one is old.
 * @throws SdkError ERR_REQUEST_INVALID (no such camera), ERR_BUSY, ERR_CAPTURE_*, ERR_ENGINE_*, ERR_PROMPT_INVALID;
 *   `context.signal.reason` at the deadline.
 */
export async function answerQuestion(
  request: AskRequest,
  context: AskContext,
  { feeds, settings, model, scheduler, usage }: QuestionAnswererOptions,
): Promise<AskResult> {
  const feed = chooseCamera(request.camera, feeds);
  // A camera that does not deliver must not hold up questions about the others.
  const known = await feed.someFrame(context.signal);
  return scheduler.question(async (signal) => {
    const frame = await feed.newerThan(known, signal);
    const notices = feed.noticesFor(frame, settings.staleSeconds);
    if (notices.length > 0 && settings.stale === 'refuse') throw staleError(notices);
    const options = {
      maxNewTokens: request.maxNewTokens ?? settings.maxNewTokens,
      temperature: request.temperature,
      seed: request.seed,
      signal,
    };
    return model.use(async (loaded) => {
      const answer = await loaded.ask(frame, request.question, options);
      usage.add(answer.usage);
      return {
        camera: feed.id,
        frame,
        answer,
        notices,
        model: { id: loaded.info.name, hash: loaded.info.contentHash },
      };
    }, signal);
  }, context.signal);
}

function staleError(notices: readonly string[]): SdkError {
  const message = `Expected a picture of now, but: ${notices.join(' ')} Questions about old pictures are refused by the setting ask.stale.`;
  return new SdkError('ERR_CAPTURE_TIMEOUT', message);
}

function chooseCamera(id: string | undefined, feeds: readonly CameraFeed[]): CameraFeed {
  const found = id === undefined ? feeds[0] : feeds.find((feed) => feed.id === id);
  if (found !== undefined && (id !== undefined || feeds.length === 1)) return found;
  const known = feeds.map((feed) => feed.id).join(', ');
  const came = id === undefined ? 'the question names none' : `received ${JSON.stringify(id)}`;
  throw new SdkError('ERR_REQUEST_INVALID', `Expected "camera" to be one of ${known}, but ${came}.`);
}
