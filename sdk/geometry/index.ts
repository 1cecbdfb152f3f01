/** Boxes, lenses, and where in the world a box is. */
export {
  type CameraMounting,
  type CameraPlacement,
  locateBox,
  locateObjects,
  type WorldPosition,
} from './bearing.js';
export { intersectionOverUnion } from './box.js';
export { formatCameraInfo, parseCameraInfo } from './camera-info.js';
export {
  type CameraLens,
  type Direction,
  type DistortionModel,
  directionOfPixel,
  type LensAccuracy,
  lensForSize,
  projectDirection,
} from './lens.js';
export { checkPlacement, requireFitting } from './placement.js';
