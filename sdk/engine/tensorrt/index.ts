export type { TensorRtDevice, TensorRtStatus } from './addon-types.js';
export type { TensorRtMode } from './lowering.js';
export {
  type ForecastOptions,
  forecastTensorRtMemory,
  type MemoryChanges,
  type MemoryForecast,
  type MemoryPart,
} from './memory-forecast.js';
export { forecastMemorySavings, type MemorySaving } from './memory-savings.js';
export type { TensorRtEngineOptions } from './open-model.js';
export {
  prepareTensorRtGraphs,
  type SampleCheck,
  type SelfTestReport,
  tensorRtSelfTest,
  tensorRtStatus,
} from './public.js';
export type { GateOptions } from './self-test/gate.js';
export type { OnTensor } from './tensorrt-backend.js';
export { openTensorRtEngine } from './tensorrt-engine.js';
