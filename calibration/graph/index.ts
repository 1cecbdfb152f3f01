export * from './architecture.js';
export { emitCrossKeyValue } from './cross-kv.js';
export { type DecoderOptions, emitDecoder, selfAttentionLayers } from './decoder.js';
export { GRAPH_VERSION, type GraphOptions } from './options.js';
export { inverseFrequencies, type RopeTables, ropeTables } from './rope.js';
export { emitVisionTower, type VisionGeometry, visionGeometry } from './vision-tower.js';
export { type AccuracyLevel, weightsRoot } from './weights.js';
