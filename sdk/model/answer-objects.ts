/** The objects of an answer: found by the grounder, scored, and where that is wanted asked about one by one. */
import type { ModelScores } from '../checkpoint/index.js';
import type { GroundedObject } from '../core/types.js';
import { type Grounder, type GroundingRequest, type Judge, scaleScore } from '../grounding/index.js';
import type { Decision, ModelImage, Usage } from './types.js';
import { verifyObjects, verifyQuestion } from './verification.js';

/** What a model is made of for this. */
export interface GroundingParts {
  readonly grounder: Grounder;
  /** What a verification asks, with `{label}` in it. */
  readonly verifyPrompt: string;
  /** How scores become probabilities. */
  readonly scores?: ModelScores | undefined;
}

/** What was asked and written. */
export type WrittenAnswer = Pick<GroundingRequest, 'text' | 'tokens'> & { readonly question: string };

/** What is to be grounded, and how. */
export interface AnswerToGround {
  readonly written: WrittenAnswer;
  /** undefined: there was none, so there are no objects. */
  readonly image: ModelImage | undefined;
  readonly verify: boolean;
  /** Asks the model yes or no about a picture. */
  readonly decide: (view: ModelImage, question: string) => Promise<Decision>;
  readonly signal: AbortSignal;
}

/** Objects, and what the model took for each question about them. */
export interface FoundObjects {
  readonly objects: readonly GroundedObject[];
  readonly usage: readonly Usage[];
}

/** @throws what the grounder and `decide` throw */
export async function groundAnswer(
  { grounder, scores, verifyPrompt }: GroundingParts,
  { written, image, verify, decide, signal }: AnswerToGround,
): Promise<FoundObjects> {
  const usage: Usage[] = [];
  if (image === undefined) return { objects: [], usage };
  const judge: Judge = async (view, label) => {
    const decision = await decide(view, verifyQuestion(verifyPrompt, label));
    usage.push(decision.usage);
    return decision.value === true ? decision.probability : 1 - decision.probability;
  };
  const found = await grounder.ground({ ...written, image, judge }, { signal });
  const scored = found.map((object) => ({ ...object, score: scaleScore(object.score, scalingOf(object, scores)) }));
  return { objects: verify ? await verifyObjects(image, scored, judge, scores?.verified) : scored, usage };
}

/** The scores of a detector are the detector's own matter. */
function scalingOf({ source, verified }: GroundedObject, scores: ModelScores | undefined) {
  return source === 'detector' || verified !== undefined ? undefined : scores?.[source];
}

/** All of them together. @param usages at least one */
export function sumOfUsage(usages: readonly [Usage, ...Usage[]]): Usage {
  const [first, ...others] = usages;
  const names = Object.keys(first) as (keyof Usage)[];
  const sum = (name: keyof Usage) => others.reduce((total, usage) => total + usage[name], first[name]);
  return Object.fromEntries(names.map((name) => [name, sum(name)])) as unknown as Usage;
}
