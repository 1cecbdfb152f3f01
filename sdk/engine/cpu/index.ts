export type { CpuKeyValueType } from './addon-types.js';
export { type CpuEngineOptions, openCpuEngine } from './cpu-engine.js';
export type { CpuDecoderOptions, CpuInstructionSet } from './decoder.js';
