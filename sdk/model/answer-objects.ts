/** The objects of an answer: found by the grounder, scored, and where that is wanted asked about one by one. */
import type { ModelScores } from '../checkpoint/index.js';
import type { GroundedObject } from '../core/types.js';
import { type CameraPlacement, locateObjects } from '../geometry/index.js';
import {
  type Attend,
  type AttentionCalibration,
  type Grounder,
  type GroundingRequest,
  heatMapPng,
  type Judge,
  scaleScore,
  searchByAttention,
} from '../grounding/index.js';
import type { Decision, HeatMap, ModelImage, Usage } from './types.js';
import { verifyObjects, verifyQuestion } from './verification.js';

/** What a model is made of for this. */
export interface GroundingParts {
  readonly grounder: Grounder;
  /** What a verification asks, with `{label}` in it. */
  readonly verifyPrompt: string;
  /** How scores become probabilities. */
  readonly scores?: ModelScores | undefined;
  /** Heads that localise; undefined: none are known, or the engine does not show what they look at. */
  readonly attention?: AttentionCalibration | undefined;
}

/** What was asked and written. */
export type WrittenAnswer = Pick<GroundingRequest, 'text' | 'tokens'> & { readonly question: string };

/** What is to be grounded, and how. */
export interface AnswerToGround {
  readonly written: WrittenAnswer;
  /** undefined: there was none, so there are no objects. */
  readonly image: ModelImage | undefined;
  readonly verify: boolean;
  /** Only where `GroundingParts.attention` is there. */
  readonly heatMap: boolean;
  /** Where it was taken from; undefined: nobody knows. */
  readonly camera: CameraPlacement | undefined;
  /** What the model's prompt for a place is, with `{label}` in it. */
  readonly locatePrompt: string;
  /** Asks the model yes or no about a picture. */
  readonly decide: (view: ModelImage, question: string) => Promise<Decision>;
  /** What the model looks at, and what that took. undefined: the engine does not show it. */
  readonly attend: ((...request: Parameters<Attend>) => Promise<Looked>) | undefined;
  readonly signal: AbortSignal;
}

/** What heads look at, and what finding out took. */
export interface Looked {
  readonly attended: Awaited<ReturnType<Attend>>;
  readonly usage: Usage;
}

/** Objects, and what the model took for each question about them. */
export interface FoundObjects {
  readonly objects: readonly GroundedObject[];
  readonly usage: readonly Usage[];
  /** Only where they were wanted. */
  readonly heatMaps?: readonly HeatMap[] | undefined;
}

/** @throws what the grounder and `decide` throw */
export async function groundAnswer(
  { grounder, scores, verifyPrompt, attention }: GroundingParts,
  { written, image, verify, heatMap, camera, locatePrompt, decide, attend: look, signal }: AnswerToGround,
): Promise<FoundObjects> {
  const usage: Usage[] = [];
  if (image === undefined) return { objects: [], usage, ...(heatMap ? { heatMaps: [] } : {}) };
  const judge: Judge = async (view, label) => {
    const decision = await decide(view, verifyQuestion(verifyPrompt, label));
    usage.push(decision.usage);
    return decision.value === true ? decision.probability : 1 - decision.probability;
  };
  const attend: Attend | undefined =
    look &&
    (async (...request) => {
      const { attended, usage: used } = await look(...request);
      usage.push(used);
      return attended;
    });
  const verifyAll = (objects: readonly GroundedObject[]) => verifyObjects(image, objects, judge, scores?.verified);
  const found = await grounder.ground({ ...written, image, judge, verify: verifyAll, attend }, { signal });
  const scored = found.map((object) => ({ ...object, score: scaleScore(object.score, scalingOf(object, scores)) }));
  const judged = verify ? await verifyAll(scored) : scored;
  const objects = camera === undefined ? judged : locateObjects(judged, image, camera);
  if (!heatMap || attention === undefined || attend === undefined) return { objects, usage };
  const search = await searchByAttention({ ...written, image }, attend, attention, locatePrompt, { signal });
  if (search === undefined) return { objects, usage, heatMaps: [] };
  const { label, map, presence } = search;
  const png = await heatMapPng(map);
  return { objects, usage, heatMaps: [{ label, ...(presence === undefined ? {} : { presence }), png }] };
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
