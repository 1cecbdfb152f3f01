/** Boxes that the model is asked about, each by its cut-out alone: a second look, with what was found out of its context. */
import type { GroundedObject } from '../core/types.js';
import { type Judge, type VerifiedScaling, verifyScore } from '../grounding/index.js';
import { cropToBox } from '../image/index.js';
import type { ModelImage } from './types.js';

/** Of one answer; what comes after them is not asked about. */
export const MOST_VERIFIED = 16;
/**
 * Around a box, in shares of its longer side. Without any, a model that learnt from whole pictures says no to what is there;
 * with much more it sees the neighbours too. Measured in `test/bench/NOTES.md`.
 */
export const VERIFY_MARGIN = 0.5;

/** By the source of the box. */
export type VerifiedScalings = { readonly [Source in GroundedObject['source']]?: VerifiedScaling | undefined };

/**
 * The objects with `verified` and a score that takes the answer into account. Those that have been asked about are left
 * as they are.
 * @throws what `judge` throws
 */
export async function verifyObjects(
  image: ModelImage,
  objects: readonly GroundedObject[],
  judge: Judge,
  scalings: VerifiedScalings = {},
): Promise<GroundedObject[]> {
  const verified: GroundedObject[] = [];
  let asked = 0;
  for (const object of objects) {
    if (object.verified !== undefined || asked >= MOST_VERIFIED) {
      verified.push(object);
      continue;
    }
    asked++;
    const yes = await judge(cropToBox(image, object.box, VERIFY_MARGIN), object.label);
    verified.push({ ...object, ...verifyScore(object.score, yes, scalings[object.source]) });
  }
  return verified;
}

/** @param prompt with `{label}` in it */
export function verifyQuestion(prompt: string, label: string): string {
  const articled = /^[aeiou]/i.test(label) ? prompt.replace(/\b([Aa]) \{label\}/, '$1n {label}') : prompt;
  return articled.replace('{label}', () => label);
}
