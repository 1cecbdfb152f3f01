export { requireCameraAddress } from './address.js';
export type {
  Camera,
  CameraInfo,
  CameraKind,
  CameraState,
  CameraStatus,
  FramesOptions,
  ReadOptions,
} from './camera.js';
export { describeAge, frameAgeMs, frameNotices } from './frame-age.js';
export { openCamera } from './open-camera.js';
export {
  cameraFromVideoCapture,
  frameFromMat,
  type MatFrameOptions,
  type OpenCvMat,
  type OpenCvVideoCapture,
  type VideoCaptureOptions,
} from './opencv4nodejs.js';
export {
  type CameraOptions,
  type CameraSettings,
  cameraOptionsSchema,
  type ReopenSettings,
  reopenSchema,
} from './options.js';
