/** What other folders use of quantising; the files beside this one are its own business. */
export {
  formatMergeResult,
  formatQuantizeResult,
  licenceQuestion,
  type QuantizeFlags,
  quantizeOptionsFrom,
} from './cli-options.js';
export { LICENCE_FILE, LLAMA_EU_NOTICE, LLAMA_NOTICE, llamaLicenseEvidence, USE_POLICY_FILE } from './llama-license.js';
export { type MergeLoraOptions, type MergeLoraResult, mergeLora } from './lora/merge.js';
export { MAX_QUESTIONS, MAX_SCENES, MERGE_TYPES, type MergeType, SOURCE_FORMATS } from './option-values.js';
export { LM_HEAD_PRECISIONS, type LmHeadPrecision, type QuantizeMethod } from './plan.js';
export {
  QUANTIZE_GROUP_SIZES,
  type QuantizeOptions,
  type QuantizeResult,
  quantizeCheckpoint,
} from './quantize.js';
