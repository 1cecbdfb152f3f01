/** Pixels to model input: canvas choice, bit-exact Pillow resize, normalisation, tiles. The work is native. */
import { SdkError } from '../core/errors.js';
import type { ImageProcessorConfig, PixelImage } from '../core/image.js';
import type { CallOptions } from '../core/types.js';
import { engineAddon } from '../native/binding.js';
import { requirePixelImage } from './pixel-image.js';
import type { ProcessedImage } from './processed-image.js';

export interface ImageProcessor {
  readonly config: ImageProcessorConfig;
  /**
   * Runs off the JavaScript thread; the pixels must not change until the promise settles. Any aspect works, 1×5000 too.
   * @throws SdkError ERR_IMAGE_INVALID, ERR_IMAGE_TOO_LARGE; ERR_NATIVE_UNAVAILABLE without the addon
   */
  process(image: PixelImage, options?: CallOptions): Promise<ProcessedImage>;
}

/**
 * The image processor of a checkpoint. Stateless: one serves any number of callers.
 *
 * @example
 * const processor = createImageProcessor(checkpoint.processor);
 * const processed = await processor.process(await decodeImage('kitchen.jpg'));
 */
export function createImageProcessor(config: ImageProcessorConfig): ImageProcessor {
  const aspectRatios = Int32Array.from(config.supportedAspectRatios.flat());
  const mean = Float64Array.from(config.mean);
  const std = Float64Array.from(config.std);
  return {
    config,
    async process(image, options = {}) {
      options.signal?.throwIfAborted();
      requirePixelImage(image);
      const addon = engineAddon();
      const result = await addon
        .processImage(image.data, {
          width: image.width,
          height: image.height,
          bgr: image.format === 'bgr8',
          tileSize: config.tileSize,
          maxTiles: config.maxTiles,
          aspectRatios,
          rescaleFactor: config.rescaleFactor,
          mean,
          std,
          wantTileBytes: false,
        })
        .catch((cause: unknown) => {
          throw new SdkError('ERR_ENGINE_OUT_OF_MEMORY', `The image could not be processed: ${String(cause)}`, {
            cause,
          });
        });
      options.signal?.throwIfAborted();
      return {
        pixelValues: result.pixelValues,
        aspectRatioId: result.aspectRatioId,
        numTiles: result.numTiles,
        geometry: {
          sourceWidth: image.width,
          sourceHeight: image.height,
          resizedWidth: result.resizedWidth,
          resizedHeight: result.resizedHeight,
          canvasWidth: result.canvasWidth,
          canvasHeight: result.canvasHeight,
          tileSize: config.tileSize,
        },
      };
    },
  };
}
