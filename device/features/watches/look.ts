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
const MAX_TEXT_TOKENS = 64;

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

/** Boxes of what the question names, where the model writes boxes: the picture is encoded already. */
export async function evidenceOf(
  model: VisionLanguageModel,
  frame: Frame,
  watch: WatchDefinition,
  options: LookOptions,
): Promise<GroundedObject[]> {
  if (!model.info.writesBoxes) return [];
  const { image, toFrame } = imageOf(frame, watch.region);
  const { objects } = await model.ask(image, model.info.prompts.list, { ...options, priority: 'watch' });
  return toFrame(namedIn(watch.question, objects));
}

/** Whose every word is in the question; else whose last one is: `red cup` by "Is there a red cup?" and "How many cups?". */
function namedIn(question: string, objects: readonly GroundedObject[]): GroundedObject[] {
  const asked = new Set(wordsOf(question));
  const exact = objects.filter(({ label }) => wordsOf(label).every((word) => asked.has(word)));
  return exact.length > 0 ? exact : objects.filter(({ label }) => asked.has(wordsOf(label).at(-1) ?? ''));
}

function wordsOf(text: string): string[] {
  return (text.toLowerCase().match(/\p{L}+/gu) ?? []).map((word) => word.replace(/(?<=\p{L}{2})s$/u, ''));
}

function decidable({ answerType, choices }: WatchDefinition): Decidable | undefined {
  if (answerType === 'text') return undefined;
  return answerType === 'choice' ? { type: 'choice', choices: choices! } : { type: answerType };
}
