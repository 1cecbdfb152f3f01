/** How an answer is to be given, as the form has it and as the device is asked. */
import type { AskInput } from '../../../../api/ask-schemas.js';

export const KINDS = [
  ['text', 'in words'],
  ['yes-no', 'yes or no'],
  ['choice', 'one of a few'],
  ['number', 'a number'],
  ['json', 'JSON'],
] as const;
export type Kind = (typeof KINDS)[number][0];

export interface AnswerKind {
  readonly kind: Kind;
  /** As typed, separated by commas. */
  readonly choices: string;
  /** As typed. */
  readonly schema: string;
  /** Each box is checked on its cut-out; false: where the device does so by itself. */
  readonly verify: boolean;
}

export const FIRST_KIND: AnswerKind = {
  kind: 'text',
  choices: '',
  schema: JSON.stringify(
    {
      type: 'object',
      properties: { count: { type: 'integer', minimum: 0, maximum: 20 } },
      required: ['count'],
      additionalProperties: false,
    },
    undefined,
    2,
  ),
  verify: false,
};

export function choicesOf({ choices }: AnswerKind): string[] {
  return [...new Set(choices.split(',').map((choice) => choice.trim()))].filter((choice) => choice !== '');
}

/** What is not right yet, in words; undefined: it can be asked. */
export function faultOf(answer: AnswerKind): string | undefined {
  if (answer.kind === 'choice' && choicesOf(answer).length < 2) return 'Give two choices or more, separated by commas.';
  if (answer.kind !== 'json') return undefined;
  try {
    const schema: unknown = JSON.parse(answer.schema);
    const isObject = typeof schema === 'object' && schema !== null && !Array.isArray(schema);
    return isObject ? undefined : 'Expected an object, { … }.';
  } catch (error) {
    return `Not JSON yet: ${(error as Error).message}`;
  }
}

export function requestPart(answer: AnswerKind): Pick<AskInput, 'answerType' | 'choices' | 'answerSchema' | 'verify'> {
  const verify = answer.verify ? { verify: true } : {};
  if (answer.kind === 'text') return verify;
  if (answer.kind === 'json') return { answerSchema: JSON.parse(answer.schema) as Record<string, unknown>, ...verify };
  return { answerType: answer.kind, ...(answer.kind === 'choice' ? { choices: choicesOf(answer) } : {}), ...verify };
}
