/** What an event of a watch rests on, as boxes. Only looked for when there is something to tell. */
import type { Frame, GenerateOptions, GroundedObject, VisionLanguageModel } from 'scenebus';
import type { WatchDefinition } from 'scenebus/bus';
import { type LookOptions, MAX_TEXT_TOKENS } from './look.js';
import { imageOf } from './region.js';
import { thingIn } from './thing.js';

/** How evidence is looked for. */
export interface EvidenceOptions extends LookOptions {
  /** The model is asked about the cut-out of each box. */
  readonly verify: boolean;
}

/**
 * Boxes of what the question names; the picture is encoded already. Of a list, where the model writes boxes; else by the
 * model's prompt for the place of one thing, where it is grounded by attention. Empty where the question names nothing.
 *
 * @param seen boxes that the answer itself came with
 */
export async function evidenceOf(
  model: VisionLanguageModel,
  frame: Frame,
  watch: WatchDefinition,
  seen: readonly GroundedObject[],
  { verify, ...options }: EvidenceOptions,
): Promise<readonly GroundedObject[]> {
  if (seen.length > 0 && !verify) return seen;
  const { image, toFrame } = imageOf(frame, watch.region);
  const ask = async (question: string, more: GenerateOptions = {}) => {
    const call = { priority: 'watch', ...options, ...more, verify } as const;
    return toFrame((await model.ask(image, question, call)).objects);
  };
  // Looks come often and events do not: boxes are verified when they are told, by the same question again.
  if (seen.length > 0) return await ask(watch.question, { maxNewTokens: MAX_TEXT_TOKENS });
  const { writesBoxes, locates, prompts } = model.info;
  if (writesBoxes) return namedIn(watch.question, await ask(prompts.list));
  const thing = locates ? thingIn(watch.question) : undefined;
  return thing === undefined ? [] : await ask(prompts.locate.replace('{label}', () => thing));
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
