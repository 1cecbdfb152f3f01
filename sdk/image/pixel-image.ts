import { SdkError } from '../core/errors.js';
import type { PixelImage } from '../core/image.js';
import { LIMITS } from '../core/limits.js';

/** @throws SdkError ERR_IMAGE_TOO_LARGE: before anything is allocated for the picture. */
export function requireImageSize(width: number, height: number, what = 'image'): void {
  const facts = { width, height, sideLimit: LIMITS.imageSidePixels, pixelLimit: LIMITS.imagePixels };
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new SdkError(
      'ERR_IMAGE_INVALID',
      `Expected an ${what} of at least 1×1 pixels, but received ${width}×${height}.`,
      {
        details: facts,
      },
    );
  }
  if (width > LIMITS.imageSidePixels || height > LIMITS.imageSidePixels || width * height > LIMITS.imagePixels) {
    throw new SdkError(
      'ERR_IMAGE_TOO_LARGE',
      `Expected an ${what} of at most ${LIMITS.imageSidePixels} pixels a side and ${LIMITS.imagePixels} in all, but received ${width}×${height}. Reduce it first.`,
      { details: facts },
    );
  }
}

/**
 * Pixels come from cameras and other people's code: size, format and length must agree before native code reads them.
 * @throws SdkError ERR_IMAGE_INVALID, ERR_IMAGE_TOO_LARGE
 */
export function requirePixelImage(image: PixelImage): void {
  requireImageSize(image.width, image.height);
  if (image.format !== 'rgb8' && image.format !== 'bgr8') {
    throw new SdkError(
      'ERR_IMAGE_INVALID',
      `Expected pixel format rgb8 or bgr8, but received ${String(image.format)}.`,
    );
  }
  const expected = image.width * image.height * 3;
  if (!(image.data instanceof Uint8Array) || image.data.length !== expected) {
    const received = image.data instanceof Uint8Array ? `${image.data.length} bytes` : typeof image.data;
    throw new SdkError(
      'ERR_IMAGE_INVALID',
      `Expected ${expected} bytes for ${image.width}×${image.height} ${image.format} (3 a pixel, no row padding), but received ${received}.`,
      { details: { width: image.width, height: image.height, expectedBytes: expected } },
    );
  }
}
