export { type CpuEngineOptions, openCpuEngine } from './cpu-engine.js';
export type { CpuInstructionSet } from './decoder.js';
