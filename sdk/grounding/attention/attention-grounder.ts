/** Grounding by where the model looks when it reads a name: for any model of the architecture, trained on boxes or not. */
import type { CallOptions, GroundedObject } from '../../core/types.js';
import { boxToPixels } from '../../geometry/box.js';
import type { Attend, Grounder, GroundingRequest } from '../grounder.js';
import { askedLabel } from './asked-label.js';
import { type Attended, type AttentionMap, attentionMap } from './attention-map.js';
import { findRegions } from './find-regions.js';
import { attentionFeatures, type PresenceModel, presenceProbability } from './presence.js';

/** Heads that localise and how their maps are read: `attention` of a model's manifest. */
export interface AttentionCalibration {
  readonly heads: readonly { readonly layer: number; readonly head: number }[];
  readonly threshold: number;
  readonly leastPeak: number;
  readonly presence?: PresenceModel | undefined;
}

/** What attention says of one name in one picture. */
export interface AttentionSearch {
  readonly label: string;
  readonly map: AttentionMap;
  /** 0–1: that anything of the name is there. undefined: the model's calibration does not tell. */
  readonly presence: number | undefined;
  /** The surest first. Empty: absent. */
  readonly objects: readonly GroundedObject[];
}

/** @param prompt with `{label}` in it */
export function locateQuestion(prompt: string, label: string): string {
  return prompt.replace('{label}', () => label);
}

/**
 * Reads boxes from what heads look at. The score of an object is the probability that the name is there times the
 * height of the object's peak as a share of the highest; without a calibrated presence the first factor is 1.
 */
export function readAttention(
  attended: Attended,
  label: string,
  { threshold, leastPeak, presence: model }: Omit<AttentionCalibration, 'heads'>,
): AttentionSearch {
  const map = attentionMap(attended);
  const presence = model && presenceProbability(attentionFeatures(attended), model);
  if (model !== undefined && presence! < model.threshold) return { label, map, presence, objects: [] };
  const { sourceWidth, sourceHeight } = attended.geometry;
  const objects = findRegions(map, { threshold, leastPeak }).map(({ box, peak, prominence }): GroundedObject => {
    const boxPixels = boxToPixels(box, sourceWidth, sourceHeight);
    return { label, box, boxPixels, peak, score: (presence ?? 1) * prominence, source: 'attention' };
  });
  return { label, map, presence, objects };
}

/** Looks for what a question asks the place of; undefined when it asks for no place. */
export async function searchByAttention(
  { question = '', image }: Pick<GroundingRequest, 'question' | 'image'>,
  attend: Attend,
  calibration: AttentionCalibration,
  locatePrompt: string,
  options: CallOptions = {},
): Promise<AttentionSearch | undefined> {
  const label = askedLabel(question, locatePrompt);
  if (label === undefined) return undefined;
  const attended = await attend(image, locateQuestion(locatePrompt, label), calibration.heads, options);
  return readAttention(attended, label, calibration);
}

/**
 * Boxes of what a question asks the place of ("Where is the red cup?"); of no other question. It costs one prompt, whose
 * picture is encoded already.
 *
 * @param locatePrompt the model's, with `{label}` in it: heads were calibrated with it
 */
export function createAttentionGrounder(calibration: AttentionCalibration, locatePrompt: string): Grounder {
  return {
    source: 'attention',
    ground: async (request, options) => {
      const { attend } = request;
      if (attend === undefined) return [];
      return (await searchByAttention(request, attend, calibration, locatePrompt, options))?.objects ?? [];
    },
  };
}
