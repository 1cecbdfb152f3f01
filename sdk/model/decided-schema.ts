/**
 * Schemas of a few possible answers. Given to `ask` like any other, but nothing is written under them: the answer is
 * read from the probabilities behind the prompt, as `decide` does.
 */
import { refuseUnknownOptions } from '../core/option-names.js';
import type { SchemaInput } from '../grammar/index.js';
import { DecidedSchema } from './decidable.js';
import type {
  DecidedAnswer,
  DecideOptions,
  Decision,
  GenerateOptions,
  ModelImage,
  VisionLanguageModel,
} from './types.js';

/** Either kind of schema. */
export type AskOptions = Omit<GenerateOptions, 'schema'> & {
  readonly schema?: SchemaInput | DecidedSchema | undefined;
};

/**
 * @example
 * const { value, probability } = await model.ask(frame, 'Is the door open?', { schema: yesNo() });
 */
export function yesNo(): DecidedSchema<boolean> {
  return new DecidedSchema({ type: 'yes-no' });
}

/**
 * @param choices 2 to 64 answers as the model would write them
 *
 * @example
 * const { value } = await model.ask(frame, 'Where is the cup?', { schema: choice(['left', 'right']) });
 */
export function choice<const Choice extends string>(choices: readonly Choice[]): DecidedSchema<Choice> {
  return new DecidedSchema({ type: 'choice', choices });
}

/** Whole numbers, 0 ≤ min < max ≤ 999. */
export function number(min: number, max: number): DecidedSchema<number> {
  return new DecidedSchema({ type: 'number', min, max });
}

/** How many: whole numbers from 0 on. @param max default 20 */
export function count(max = 20): DecidedSchema<number> {
  return number(0, max);
}

const OPTIONS = {
  signal: true,
  priority: true,
  caller: true,
  deadlineMs: true,
} satisfies Record<keyof DecideOptions, true>;

/**
 * The decision in the form of an answer.
 * @throws SdkError as `decide`; ERR_ARGUMENT_INVALID for options that only writing has, `temperature` for one
 */
export async function askDecided(
  model: Pick<VisionLanguageModel, 'decide'>,
  image: ModelImage,
  question: string,
  { decidable }: DecidedSchema,
  options: DecideOptions,
): Promise<DecidedAnswer> {
  refuseUnknownOptions(options, Object.keys(OPTIONS), 'a question that is decided without writing');
  return answerOfDecision(await model.decide(image, question, decidable, options));
}

function answerOfDecision(decision: Decision): DecidedAnswer {
  const { value } = decision;
  const text = typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value);
  return { ...decision, text, objects: [], finishReason: 'stop' };
}
