export { bfloat16ToFloat32 } from './element-type.js';
export { LOWERED_GRAPHS, type LoweredEngine, type LoweredGraphName, type ProfileRange } from './engines.js';
export { CROSS_ATTENTION, crossAttention, INT4_MATMUL, KV_ATTENTION, kvAttention } from './functions.js';
export {
  bfloat16Bits,
  bfloat16Value,
  float16Bits,
  float16Value,
} from './half.js';
export {
  type Binding,
  type BindingRole,
  type LoweredGraph,
  type LoweredModelFiles,
  type LoweringManifest,
  lowerModel,
} from './manifest.js';
export { DEFAULT_LOWERING, LOWERING_VERSION, type LoweredType, type LoweringOptions } from './options.js';
export { toPluginMode } from './plugin-mode.js';
export { ATTENTION_GROUPS, loweredVisionTokens } from './vision.js';
export { type LoweredWeight, LoweredWeights, type MadeWeight, type WeightRecipe, type WeightsFile } from './weights.js';
export { type WriteWeightsOptions, writeLoweredWeights, writeWeightsFile } from './write-weights.js';
