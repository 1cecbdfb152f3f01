export {
  type ForecastOptions,
  forecastTensorRtMemory,
  type MemoryForecast,
  type MemoryPart,
} from './memory-forecast.js';
export { openTensorRtEngine, type TensorRtEngineOptions } from './tensorrt-engine.js';
