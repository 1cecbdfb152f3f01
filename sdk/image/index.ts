export type { ImageProcessorConfig, PixelImage } from '../core/image.js';
export { ChangeGate, type ChangeGateOptions, type ChangeMeasure, type FrameGlance, glanceAt } from './change-gate.js';
export { cropToBox } from './crop.js';
export { type DecodedImage, decodeImage } from './decode.js';
export { type EncodeJpegOptions, encodeJpeg } from './encode-jpeg.js';
export { encodePng } from './encode-png.js';
export { requirePixelImage } from './pixel-image.js';
export type { ImageGeometry, ProcessedImage } from './processed-image.js';
export { createImageProcessor, type ImageProcessor } from './processor.js';
