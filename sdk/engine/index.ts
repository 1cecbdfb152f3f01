export { type CpuEngineOptions, type CpuInstructionSet, openCpuEngine } from './cpu/index.js';
export { type CrossAttentionSpan, crossAttentionSpans } from './cross-attention.js';
export type * from './engine.js';
export { type OnnxEngineOptions, openOnnxEngine } from './onnx-engine.js';
export type * from './options.js';
export { argmax, createRandom, type RandomSource, type SamplingOptions, sampleToken } from './sampling.js';
export * from './tensorrt/index.js';
