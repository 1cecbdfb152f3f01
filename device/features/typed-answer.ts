/** An answer of the type that was asked for. */
import type { DecidedOption, Frame, GenerateOptions, VisionLanguageModel } from 'scenebus';
import type { AskContext, AskRequest, AskResult } from 'scenebus/bus';
import { type EarlierTurn, write } from './writing.js';

export type TypedQuestion = Pick<AskRequest, 'question' | 'answerType' | 'choices'>;

/** Decided from probabilities where there are only a few, else written. */
export async function answerFrom(
  model: VisionLanguageModel,
  frame: Frame,
  request: TypedQuestion,
  options: GenerateOptions,
  partial: AskContext['partial'],
): Promise<AskResult['answer']> {
  return (await typedAnswer(model, frame, request, options, partial)).answer;
}

export interface TypedAnswer {
  readonly answer: AskResult['answer'];
  /** Between which it was decided, the most probable first; undefined: it was written. */
  readonly options?: readonly DecidedOption[] | undefined;
}

/** @param earlier turns about this frame; a decision is made without them */
export async function typedAnswer(
  model: VisionLanguageModel,
  frame: Frame,
  { question, answerType, choices }: TypedQuestion,
  options: GenerateOptions,
  partial: AskContext['partial'],
  earlier: readonly EarlierTurn[] = [],
): Promise<TypedAnswer> {
  if (answerType === undefined || answerType === 'text')
    return { answer: await write(model, frame, question, options, partial, earlier) };
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
  };
}
