export type { Camera, CameraInfo, CameraKind, CameraState, CameraStatus, FramesOptions } from './camera.js';
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
