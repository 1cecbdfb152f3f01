/** Pixels to model input: canvas choice, bit-exact Pillow resize, normalisation, tiles. The work is native. */
import { ERROR_CODES, type ErrorCode, SdkError } from '../core/errors.js';
import type { ImageProcessorConfig, PixelImage } from '../core/image.js';
import type { CallOptions } from '../core/types.js';
import { engineAddon } from '../native/binding.js';
import { requirePixelImage } from './pixel-image.js';
import type { ProcessedImage } from './processed-image.js';

export interface ImageProcessor {
  readonly config: ImageProcessorConfig;
  /**
   * Runs off the JavaScript thread; the pixels must not change until the promise settles. Any aspect works, 1×5000 too.
   * @throws SdkError ERR_IMAGE_INVALID, ERR_IMAGE_TOO_LARGE; ERR_NATIVE_UNAVAILABLE without the addon;
   * ERR_ENGINE_OUT_OF_MEMORY; ERR_INTERNAL for what nobody foresaw
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
          throw processingFailure(cause);
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

/** Of what the addon says. Short memory is the only trouble that trying again may mend; nothing else blames the engine. */
function processingFailure(cause: unknown): SdkError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const code = (cause as { readonly code?: unknown } | undefined)?.code;
  const known = typeof code === 'string' && Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'ERR_INTERNAL';
  // The addon's word for any exception of the standard library; here it is a fault of ours.
  const kind = known === 'ERR_ENGINE_FAILED' ? 'ERR_INTERNAL' : known;
  return new SdkError(kind, `The image could not be processed: ${reason}.`, { cause });
}
