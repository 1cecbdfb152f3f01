/**
 * `scenebus/tensorrt`: what TensorRT is on this machine, what a model would need there, and the engine itself for
 * programs that drive it without text.
 */
export type * from './architecture/architecture.js';
export type * from './engine/engine.js';
export type { EngineCheckpoint, OpenEngineOptions } from './engine/options.js';
export * from './engine/tensorrt/index.js';
