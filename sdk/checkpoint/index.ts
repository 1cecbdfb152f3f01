export type { ImageProcessorConfig } from '../core/image.js';
export { type Checkpoint, openCheckpoint } from './checkpoint.js';
export type { GenerationDefaults } from './generation-config.js';
export {
  type AttentionCalibration,
  attentionCalibrationSchema,
  type BoxConvention,
  boxConventionSchema,
  type ModelManifest,
  type ModelScores,
  manifestSchema,
} from './manifest.js';
export { readTensorF32 } from './read-tensor.js';
export { readSafetensorsHeader, type SafetensorsEntry, type SafetensorsFile } from './safetensors.js';
