/** One look of the model for one watch. */
import type { Decidable, Frame, GroundedObject, Priority, VisionLanguageModel } from 'scenebus';
import type { ModelReference, WatchDefinition } from 'scenebus/bus';
import type { Found } from './finding.js';
import { imageOf } from './region.js';

export interface Look extends Found {
  readonly model: ModelReference;
  /** What the model wrote, where it wrote. */
  readonly text: string | undefined;
  readonly objects: readonly GroundedObject[];
}

export interface LookOptions {
  readonly signal: AbortSignal;
  readonly caller: string;
  /** Default `watch`. */
  readonly priority?: Priority | undefined;
}

/** Of an answer in words. Standing questions want short ones. */
export const MAX_TEXT_TOKENS = 64;

/** All but text is read from the probabilities behind the prompt. */
export async function look(
  model: VisionLanguageModel,
  frame: Frame,
  watch: WatchDefinition,
  options: LookOptions,
): Promise<Look> {
  const { image, toFrame } = imageOf(frame, watch.region);
  const reference = { id: model.info.name, hash: model.info.contentHash };
  const call = { ...options, priority: options.priority ?? 'watch' } as const;
  const among = decidable(watch);
  if (among === undefined) {
    const { text, objects } = await model.ask(image, watch.question, { ...call, maxNewTokens: MAX_TEXT_TOKENS });
    return { value: text.trim(), probability: null, model: reference, text, objects: toFrame(objects) };
  }
  const { value, probability } = await model.decide(image, watch.question, among, call);
  return { value, probability, model: reference, text: undefined, objects: [] };
}

function decidable({ answerType, choices }: WatchDefinition): Decidable | undefined {
  if (answerType === 'text') return undefined;
  return answerType === 'choice' ? { type: 'choice', choices: choices! } : { type: answerType };
}
