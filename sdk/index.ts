/**
 * SceneBus for programs: cameras, models, pictures, boxes. Grouped by hand; what no entry exports is not public. The bus
 * is `scenebus/bus`, its callers' side `scenebus/client`; `scenebus/service` helps programs that run all day.
 *
 * @example
 * import { loadModel, openCamera } from 'scenebus';
 * await using camera = await openCamera('examples/clips/tabletop.mp4');
 * await using model = await loadModel('examples/demo-model/checkpoint');
 * const answer = await model.ask(await camera.read(), 'Where is the red cup?');
 */

// Cameras, and frames of opencv4nodejs

export {
  type Camera,
  type CameraInfo,
  type CameraKind,
  type CameraOptions,
  type CameraState,
  type CameraStatus,
  cameraFromVideoCapture,
  type FramesOptions,
  frameFromMat,
  type MatFrameOptions,
  type OpenCvMat,
  type OpenCvVideoCapture,
  openCamera,
  type ReadOptions,
  type VideoCaptureOptions,
} from './capture/index.js';

// Models: pictures and questions in, grounded answers out

export type { ProcessMemory } from './child/index.js';
export {
  checkAnswerSchema,
  type JsonSchema,
  type JsonValue,
  type SchemaInput,
  type ValueOf,
  type ZodLike,
} from './grammar/index.js';
export type { FinishReason } from './inference/generation.js';
export type { Decidable, DecidedOption, DecidedSchema } from './model/decidable.js';
export { choice, count, number, yesNo } from './model/decided-schema.js';
export { type LoadModelOptions, loadModel } from './model/load-model.js';
export {
  type ImageMatch,
  type Match,
  type MatchingModel,
  rankImages,
  rankTexts,
  type TextMatch,
} from './model/matching.js';
export { createModelRouter, type ModelRouterOptions } from './model/model-router.js';
export type {
  RemoteCircuitOptions,
  RemoteModelOptions,
  RemoteOptions,
  RemotePictureOptions,
  RemoteRetryOptions,
} from './model/remote/options.js';
export type {
  Answer,
  AnsweredBy,
  AnswerToken,
  ChatMessage,
  ChatPart,
  ChatRole,
  DecidedAnswer,
  DecideOptions,
  Decision,
  GenerateOptions,
  GenerateRequest,
  HeatMap,
  LikelihoodOptions,
  Likelihoods,
  ModelImage,
  ModelInfo,
  ModelProcess,
  ModelStats,
  Priority,
  RemoteCapabilities,
  RemoteEngineInfo,
  StructuredAnswer,
  TextLikelihood,
  Timings,
  TokenProbability,
  TokenStream,
  Usage,
  VisionLanguageModel,
} from './model/types.js';

// Boxes: reading them from answers, their arithmetic, and following them

export { type DetectorGrounder, type DetectorOptions, openDetector } from './detector/detector-grounder.js';
export {
  type Attend,
  type Attended,
  type AttentionCalibration,
  type AttentionFeatures,
  type BoxConvention,
  boxToPixels,
  createTextGrounder,
  type Grounder,
  type GrounderChoice,
  type GroundingRequest,
  intersectionOverUnion,
  type Judge,
  type PresenceModel,
} from './grounding/index.js';
export type { WrittenToken } from './text/written-token.js';
export {
  createTracker,
  type Track,
  type TrackedFrame,
  type TrackedObjects,
  type Tracker,
  type TrackerOptions,
} from './tracking/index.js';

// Where in the world a box is: calibrated lenses, mounted cameras

export {
  type CameraLens,
  type CameraMounting,
  type CameraPlacement,
  type DistortionModel,
  formatCameraInfo,
  type LensAccuracy,
  lensForSize,
  locateObjects,
  parseCameraInfo,
} from './geometry/index.js';

// Pictures: still images, the image processor, how much a scene has changed

export {
  ChangeGate,
  type ChangeGateOptions,
  type ChangeMeasure,
  createImageProcessor,
  type DecodedImage,
  decodeImage,
  type EncodeJpegOptions,
  encodeJpeg,
  type FrameGlance,
  type ImageGeometry,
  type ImageProcessor,
  type ImageProcessorConfig,
  type PixelImage,
  type ProcessedImage,
} from './image/index.js';

// Checkpoint folders and engine facts

export type * from './architecture/architecture.js';
export { type Checkpoint, type GenerationDefaults, type ModelManifest, openCheckpoint } from './checkpoint/index.js';
export type { BackendName, EngineCapabilities, EngineInfo, Numerics } from './engine/engine.js';
export type {
  CpuDecoderOptions,
  CpuEngineOptions,
  CpuInstructionSet,
  CpuKeyValueType,
  OpenEngineOptions,
} from './engine/index.js';

// Errors, limits, logging

export { ERROR_CODES, type ErrorCode, isSdkError, SdkError, type SdkErrorOptions } from './core/errors.js';
export { LIMITS } from './core/limits.js';
export { type Logger, type LogLevel, type OnProgress, type Progress, silentLogger } from './core/logger.js';
export type { Bearing, Box, CallOptions, FloorPoint, Frame, GroundedObject, PixelFormat } from './core/types.js';
export { version } from './core/version.js';
