import { type AskContext, type AskRequest, type AskResult, SdkError } from 'scenebus';
import type { DeviceConfig } from '../config/schema.js';
import type { CameraStation } from './camera-station.js';
import type { ModelHost } from './model-host.js';
import type { Scheduler } from './scheduler.js';
import type { UsageTotals } from './usage-totals.js';

export interface QuestionAnswererOptions {
  readonly stations: readonly CameraStation[];
  readonly settings: DeviceConfig['ask'];
  readonly model: ModelHost;
  readonly scheduler: Scheduler;
  readonly usage: UsageTotals;
}

/**
 * Answers one question about the newest frame at the moment when the model is free.
 * @throws SdkError ERR_REQUEST_INVALID (no such camera), ERR_BUSY, ERR_CAPTURE_*, ERR_ENGINE_*, ERR_PROMPT_INVALID;
 *   `context.signal.reason` at the deadline.
 */
export async function answerQuestion(
  request: AskRequest,
  context: AskContext,
  { stations, settings, model, scheduler, usage }: QuestionAnswererOptions,
): Promise<AskResult> {
  const station = chooseCamera(request.camera, stations);
  // A camera that does not deliver must not hold up questions about the others.
  const known = await station.someFrame(context.signal);
  return scheduler.question(async (signal) => {
    const frame = await station.newerThan(known, signal);
    const options = {
      maxNewTokens: request.maxNewTokens ?? settings.maxNewTokens,
      temperature: request.temperature,
      seed: request.seed,
      signal,
    };
    return model.use(async (loaded) => {
      const answer = await loaded.ask(frame, request.question, options);
      usage.add(answer.usage);
      return { camera: station.id, frame, answer, model: { id: loaded.info.name, hash: loaded.info.contentHash } };
    }, signal);
  }, context.signal);
}

function chooseCamera(id: string | undefined, stations: readonly CameraStation[]): CameraStation {
  const found = id === undefined ? stations[0] : stations.find((station) => station.id === id);
  if (found !== undefined && (id !== undefined || stations.length === 1)) return found;
  const known = stations.map((station) => station.id).join(', ');
  const came = id === undefined ? 'the question names none' : `received ${JSON.stringify(id)}`;
  throw new SdkError('ERR_REQUEST_INVALID', `Expected "camera" to be one of ${known}, but ${came}.`);
}
