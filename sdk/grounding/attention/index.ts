export {
  type AttentionCalibration,
  type AttentionSearch,
  createAttentionGrounder,
  locateQuestion,
  readAttention,
  searchByAttention,
} from './attention-grounder.js';
export { type Attended, type AttentionMap, attentionMap } from './attention-map.js';
export { findRegions } from './find-regions.js';
export { heatMapPng } from './heat-map.js';
export { type AttentionFeatures, attentionFeatures, type PresenceModel, presenceProbability } from './presence.js';
