export type { TensorRtDevice, TensorRtStatus } from './addon-types.js';
export type { TensorRtMode } from './lowering.js';
export {
  type ForecastOptions,
  forecastTensorRtMemory,
  type MemoryForecast,
  type MemoryPart,
} from './memory-forecast.js';
export {
  prepareTensorRtGraphs,
  type SampleCheck,
  type SelfTestReport,
  tensorRtSelfTest,
  tensorRtStatus,
} from './public.js';
export { openTensorRtEngine, type TensorRtEngineOptions } from './tensorrt-engine.js';
