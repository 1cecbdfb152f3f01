export {
  type CpuDecoderOptions,
  type CpuEngineOptions,
  type CpuInstructionSet,
  type CpuKeyValueType,
  openCpuEngine,
} from './cpu/index.js';
export type * from './engine.js';
export { type OnnxEngineOptions, openOnnxEngine } from './onnx/onnx-engine.js';
export type * from './options.js';
export { type CrossAttentionSpan, crossAttentionSpans } from './shared/cross-attention.js';
export * from './tensorrt/index.js';
