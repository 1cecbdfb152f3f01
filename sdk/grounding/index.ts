export { boxArea, boxToPixels, clampBox, intersectionOverUnion } from '../geometry/box.js';
export type { WrittenToken } from '../text/written-token.js';
export {
  type Attended,
  type AttentionCalibration,
  type AttentionFeatures,
  heatMapPng,
  type PresenceModel,
  searchByAttention,
} from './attention/index.js';
export type { BoxConvention } from './box-reader.js';
export { chooseGrounder, type GrounderChoice, type GroundingModel } from './choose-grounder.js';
export type { Attend, Grounder, GroundingRequest, Judge } from './grounder.js';
export {
  logit,
  probabilityOf,
  type ScoreScaling,
  scaleScore,
  type VerifiedScaling,
  verifyScore,
} from './scores.js';
export { createTextGrounder } from './text-grounder.js';
