/** How the map of chosen heads is read: where boxes end, and when a thing is not there. */
import type { Box } from '#sdk/core/types.js';
import { intersectionOverUnion } from '#sdk/geometry/box.js';
import {
  type Attended,
  type AttentionCalibration,
  attentionFeatures,
  type PresenceModel,
  presenceProbability,
  readAttention,
} from '#sdk/grounding/attention/index.js';
import { fitLogistic } from '../scores/logistic.js';

/** What chosen heads look at for a name, and where such things are; nowhere: absent. */
export interface Look {
  readonly label: string;
  readonly attended: Attended;
  readonly boxes: readonly Box[];
}

/** Of looks that nothing was fitted to. */
export interface GroundingRates {
  /** Peak inside the thing, of all that are there. */
  readonly pointing: number;
  /** IoU of at least 0.5, of all that are there. */
  readonly half: number;
  /** Boxes for what is not there, of all such. */
  readonly falseAlarms: number;
  readonly present: number;
  readonly absent: number;
}

const THRESHOLDS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6];
const LEAST_PEAK = 0.5;
/** Things that are there and are said to be. */
const RECALL = 0.95;

/** Everything but the heads. */
export function fitReading(looks: readonly Look[]): Omit<AttentionCalibration, 'heads'> {
  const halves = THRESHOLDS.map((threshold) => ({
    threshold,
    half: ratesOf(looks, { threshold, leastPeak: LEAST_PEAK }).half,
  }));
  const { threshold } = halves.reduce((best, each) => (each.half > best.half ? each : best));
  return { threshold, leastPeak: LEAST_PEAK, presence: fitPresence(looks) };
}

function fitPresence(looks: readonly Look[]): PresenceModel | undefined {
  const features = looks.map(({ attended }) => attentionFeatures(attended));
  const isThere = looks.map(({ boxes }) => boxes.length > 0);
  if (!isThere.includes(true) || !isThere.includes(false)) return undefined;
  const { weights, bias } = fitLogistic(
    features.map((each) => [each.onPatches, each.concentration, each.peak, each.agreement]),
    isThere,
  );
  const [onPatches, concentration, peak, agreement] = weights.map(rounded) as [number, number, number, number];
  const model = { weights: { onPatches, concentration, peak, agreement }, bias: rounded(bias) };
  const sure = features
    .filter((_, i) => isThere[i])
    .map((each) => presenceProbability(each, { ...model, threshold: 0 }))
    .sort((a, b) => a - b);
  // Down: the thing at the threshold stays in.
  const threshold = Math.floor(1e4 * sure[Math.floor((1 - RECALL) * sure.length)]!) / 1e4;
  return { ...model, threshold };
}

export function ratesOf(looks: readonly Look[], reading: Omit<AttentionCalibration, 'heads'>): GroundingRates {
  const counts = { pointing: 0, half: 0, falseAlarms: 0, present: 0, absent: 0 };
  for (const { attended, label, boxes } of looks) {
    const [found] = readAttention(attended, label, reading).objects;
    if (boxes.length === 0) {
      counts.absent++;
      if (found !== undefined) counts.falseAlarms++;
      continue;
    }
    counts.present++;
    if (found?.peak === undefined) continue;
    const { x, y } = found.peak;
    if (boxes.some((box) => x >= box.x1 && x <= box.x2 && y >= box.y1 && y <= box.y2)) counts.pointing++;
    if (boxes.some((box) => intersectionOverUnion(box, found.box) >= 0.5)) counts.half++;
  }
  const { present, absent } = counts;
  return {
    pointing: counts.pointing / Math.max(1, present),
    half: counts.half / Math.max(1, present),
    falseAlarms: counts.falseAlarms / Math.max(1, absent),
    ...{ present, absent },
  };
}

function rounded(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}
