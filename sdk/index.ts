/**
 * SceneBus for programs: cameras, models, the bus. Grouped by hand; what is not exported here is not public.
 *
 * @example
 * import { loadModel, openCamera } from 'scenebus';
 * await using camera = await openCamera('examples/clips/tabletop.mp4');
 * await using model = await loadModel('examples/demo-model/checkpoint');
 * const answer = await model.ask(await camera.read(), 'Where is the red cup?');
 */

// The bus. Controllers that only ask use `scenebus/client`.
export * from './bus/index.js';
// Cameras; the schema is for programs that embed it in their own configuration
export {
  type Camera,
  type CameraInfo,
  type CameraKind,
  type CameraOptions,
  type CameraState,
  type CameraStatus,
  cameraOptionsSchema,
  type FramesOptions,
  openCamera,
} from './capture/index.js';
// Checkpoint folders
export { type Checkpoint, type ModelManifest, openCheckpoint } from './checkpoint/index.js';
// Errors, limits, logging
export { ERROR_CODES, type ErrorCode, isSdkError, SdkError, type SdkErrorOptions } from './core/errors.js';
export { DisposalStack } from './core/lifecycle.js';
export { LIMITS } from './core/limits.js';
export { type Logger, type LogLevel, type OnProgress, type Progress, silentLogger } from './core/logger.js';
export type { Box, CallOptions, Frame, GroundedObject, PixelFormat } from './core/types.js';

// Engine facts
export type { BackendName, EngineInfo, Numerics } from './engine/engine.js';
// Grounding: boxes of answers
export {
  type BoxConvention,
  boxArea,
  boxToPixels,
  clampBox,
  createTextGrounder,
  type Grounder,
  type GroundingRequest,
  intersectionOverUnion,
  type WrittenToken,
} from './grounding/index.js';
// Pictures
export {
  ChangeGate,
  type ChangeGateOptions,
  type ChangeMeasure,
  createImageProcessor,
  type DecodedImage,
  decodeImage,
  type ImageProcessor,
  type ImageProcessorConfig,
  type PixelImage,
} from './image/index.js';
export { type LoadModelOptions, loadModel } from './model/load-model.js';
// Models
export type {
  Answer,
  ChatMessage,
  ChatPart,
  ChatRole,
  FinishReason,
  GenerateOptions,
  GenerateRequest,
  ModelImage,
  ModelInfo,
  Timings,
  TokenStream,
  Usage,
  VisionLanguageModel,
} from './model/types.js';
export { version } from './version.js';
