export type * from './architecture.js';
export { type PackedForm, packedForm } from './packed-form.js';
export {
  type VisionGeometry,
  type VisionRows,
  type VisionRowsRequest,
  visionGeometry,
  visionRows,
} from './vision-rows.js';
