/** Answers among which a model decides: how they are written, and what it found. */
import { SdkError } from '../core/errors.js';
import { type ScoreScaling, scaleScore } from '../grounding/index.js';
import type { Candidate } from '../inference/candidate-tree.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { Decidable, DecidedOption } from './decidable.js';

type Value = DecidedOption['value'];

/** Every way of writing an option, likely ones only: a model begins a sentence or it does not. */
interface Option {
  readonly value: Value;
  readonly spellings: readonly string[];
}

const LIMIT = { choices: 64, choiceCharacters: 128, number: 999 };
const DEFAULT_NUMBERS = { min: 0, max: 100 };
const WORDS = 'zero one two three four five six seven eight nine ten eleven twelve'.split(' ');

/** @throws SdkError ERR_ARGUMENT_INVALID for what leaves nothing to decide */
export function optionsOf(among: Decidable): readonly Option[] {
  switch (among?.type) {
    case 'yes-no':
      return [
        { value: true, spellings: cased('yes') },
        { value: false, spellings: cased('no') },
      ];
    case 'number':
      return numbersOf(among.min ?? DEFAULT_NUMBERS.min, among.max ?? DEFAULT_NUMBERS.max);
    case 'choice':
      return choicesOf(among.choices);
    default:
      throw invalid(`{ type: "yes-no" | "number" | "choice" } to decide among but received ${JSON.stringify(among)}`);
  }
}

export function candidatesOf(options: readonly Option[], tokenizer: Pick<Tokenizer, 'encodeText'>): Candidate[] {
  return options.flatMap(({ spellings }, option) =>
    spellings.map((spelling) => ({ option, tokens: tokenizer.encodeText(spelling) })),
  );
}

/** Most probable first; they add up to 1. @param yesNo how probabilities of yes become true, where that was measured */
export function decidedOptions(
  options: readonly Option[],
  probabilities: readonly number[],
  yesNo?: ScoreScaling | undefined,
): DecidedOption[] {
  const sum = probabilities.reduce((total, probability) => total + probability, 0);
  const shares = options.map((_, i) => (sum > 0 ? probabilities[i]! / sum : 1 / options.length));
  if (options[0]?.value === true) {
    const yes = scaleScore(shares[0]!, yesNo);
    shares.splice(0, 2, yes, 1 - yes);
  }
  return options
    .map(({ value }, i) => ({ value, probability: shares[i]! }))
    .sort((a, b) => b.probability - a.probability);
}

function numbersOf(min: number, max: number): Option[] {
  const isRange = [min, max].every((each) => Number.isInteger(each) && each >= 0 && each <= LIMIT.number) && min < max;
  if (!isRange) throw invalid(`whole numbers 0 ≤ min < max ≤ ${LIMIT.number} but received min ${min}, max ${max}`);
  return Array.from({ length: max - min + 1 }, (_, i) => {
    const value = min + i;
    const word = WORDS[value];
    return { value, spellings: [String(value), ...(word === undefined ? [] : cased(word))] };
  });
}

function choicesOf(choices: readonly string[]): Option[] {
  const isList = Array.isArray(choices) && choices.length >= 2 && choices.length <= LIMIT.choices;
  const isText = (choice: unknown) =>
    typeof choice === 'string' && choice.trim() !== '' && choice.length <= LIMIT.choiceCharacters;
  if (!isList || !choices.every(isText) || new Set(choices).size !== choices.length) {
    throw invalid(
      `2 to ${LIMIT.choices} different choices of 1 to ${LIMIT.choiceCharacters} characters but received ${JSON.stringify(choices)}`,
    );
  }
  // Where two differ only in their case, each is what its author wrote.
  const written = new Set(choices);
  return choices.map((choice) => {
    const others = [capitalised(choice), choice.toLowerCase()].filter((spelling) => !written.has(spelling));
    return { value: choice, spellings: [...new Set([choice, ...others])] };
  });
}

function cased(word: string): string[] {
  return [word, capitalised(word), word.toUpperCase()];
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function invalid(expected: string): SdkError {
  return new SdkError('ERR_ARGUMENT_INVALID', `Expected ${expected}.`);
}
