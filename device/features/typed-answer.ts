/** An answer of the type that was asked for. */
import type { AnsweredBy, DecidedOption, Frame, GenerateOptions, VisionLanguageModel } from 'scenebus';
import type { AskContext, AskRequest, AskResult } from 'scenebus/bus';
import { type EarlierTurn, write } from './writing.js';

export type TypedQuestion = Pick<AskRequest, 'question' | 'answerType' | 'choices'>;

export interface TypedAnswer {
  readonly answer: AskResult['answer'];
  /** Between which it was decided, the most probable first; undefined: it was written. */
  readonly options?: readonly DecidedOption[] | undefined;
  /** Of a model that is two: which one. */
  readonly answeredBy?: AnsweredBy | undefined;
}

/**
 * Decided from probabilities where there are only a few, else written.
 * @param earlier turns about this frame; a decision is made without them
 */
export async function typedAnswer(
  model: VisionLanguageModel,
  frame: Frame,
  { question, answerType, choices }: TypedQuestion,
  options: GenerateOptions,
  partial: AskContext['partial'],
  earlier: readonly EarlierTurn[] = [],
): Promise<TypedAnswer> {
  if (answerType === undefined || answerType === 'text') {
    const answer = await write(model, frame, question, options, partial, earlier);
    return { answer, answeredBy: answer.answeredBy };
  }
  const { priority, caller, deadlineMs, signal } = options;
  const among = answerType === 'choice' ? { type: answerType, choices: choices ?? [] } : { type: answerType };
  const decision = await model.decide(frame, question, among, { priority, caller, deadlineMs, signal });
  const { value, probability, notices, usage, timings } = decision;
  const text = typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value);
  return {
    answer: {
      ...{ text, objects: [], finishReason: 'stop', usage, timings, value, probability },
      ...(notices === undefined ? {} : { notices }),
    },
    options: decision.options,
    answeredBy: decision.answeredBy,
  };
}
