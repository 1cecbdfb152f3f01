export { boxArea, boxToPixels, clampBox, intersectionOverUnion } from '../geometry/box.js';
export type { WrittenToken } from '../text/written-token.js';
export type { BoxConvention } from './box-reader.js';
export { chooseGrounder, type GrounderChoice } from './choose-grounder.js';
export type { Grounder, GroundingRequest, Judge } from './grounder.js';
export {
  combineScores,
  logit,
  probabilityOf,
  type ScoreScaling,
  scaleScore,
  type VerifiedScaling,
} from './scores.js';
export { createTextGrounder } from './text-grounder.js';
