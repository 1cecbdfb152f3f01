export type { CpuInstructionSet } from '../shared/packed-weights.js';
export type { CpuKeyValueType } from './addon-types.js';
export { type CpuEngineOptions, openCpuEngine } from './cpu-engine.js';
export type { CpuDecoderOptions } from './decoder.js';
