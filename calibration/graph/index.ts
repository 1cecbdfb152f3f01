export * from './architecture.js';
export { GraphBuilder } from './builder.js';
export { emitCrossKeyValue } from './cross-kv.js';
export { type DecoderOptions, emitDecoder, emitDecoderLayer } from './decoder.js';
export { selfAttentionLayers } from './decoder-layers.js';
export type { ElementType } from './onnx.js';
export { GRAPH_VERSION, type GraphOptions } from './options.js';
export { type PackedForm, packedForm } from './packed-form.js';
export { ProtobufError } from './protobuf.js';
export { inverseFrequencies, type RopeTables, ropeTables } from './rope.js';
export { type VisionRange, visionRanges } from './vision-layers.js';
export {
  type VisionGeometry,
  type VisionRows,
  type VisionRowsRequest,
  visionGeometry,
  visionRows,
} from './vision-rows.js';
export { emitVisionRange, emitVisionTower } from './vision-tower.js';
export { type AccuracyLevel, weightsRoot } from './weights.js';
