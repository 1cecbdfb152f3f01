/** Calibration of cameras: the only door for `device`. */
export { type BoardSettings, type CalibrationBoard, parseBoard } from './board.js';
export { drawBoard } from './board-picture.js';
export { BoardViews, type Coverage, describeBoard, type Refusal, type SeenPicture } from './board-views.js';
export {
  type CalibrationProgress,
  CalibrationSession,
  type CalibrationSessionOptions,
  cameraInfoFormat,
  LENS_MODELS,
  type LensKind,
  saveLens,
} from './session.js';
export { type CameraCalibration, MIN_VIEWS, solveLens } from './solve-lens.js';
