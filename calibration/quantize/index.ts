/** What other folders use of quantising; the files beside this one are its own business. */
export { MAX_QUESTIONS, MAX_SCENES } from './calibration-samples.js';
export {
  formatMergeResult,
  formatQuantizeResult,
  licenceQuestion,
  type QuantizeFlags,
  quantizeOptionsFrom,
  SOURCE_FORMATS,
} from './cli-options.js';
export { llamaLicenseEvidence } from './llama-license.js';
export { MERGE_TYPES, type MergeLoraOptions, type MergeLoraResult, type MergeType, mergeLora } from './lora/merge.js';
export { LM_HEAD_PRECISIONS, type LmHeadPrecision, type QuantizeMethod } from './plan.js';
export {
  QUANTIZE_GROUP_SIZES,
  type QuantizeOptions,
  type QuantizeResult,
  quantizeCheckpoint,
} from './quantize.js';
