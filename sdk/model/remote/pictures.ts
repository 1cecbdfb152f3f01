/** Pictures on their way out: as large as the model sees them, as JPEG. */
import { supportedAspectRatios } from '../../checkpoint/config.js';
import { SdkError } from '../../core/errors.js';
import { encodeJpeg } from '../../image/index.js';
import type { ModelImage } from '../types.js';
import type { ResolvedRemote } from './options.js';

/** @throws SdkError ERR_REQUEST_UNSUPPORTED where nobody said that pictures may leave; ERR_IMAGE_INVALID */
export async function dataUrlOf(image: ModelImage, { pictures, address }: ResolvedRemote): Promise<string> {
  if (pictures === undefined) {
    throw new SdkError(
      'ERR_REQUEST_UNSUPPORTED',
      `Expected a request without pictures: none is sent to ${address.host} unless that is wanted. Say so with remote.pictures: { send: true }.`,
      { details: { option: 'remote.pictures' } },
    );
  }
  const { jpegQuality: quality, tileSize, maxTiles } = pictures;
  const width = seenWidth(image, tileSize, maxTiles);
  const jpeg = await encodeJpeg(image, { quality, width });
  return `data:image/jpeg;base64,${Buffer.from(jpeg.buffer, jpeg.byteOffset, jpeg.byteLength).toString('base64')}`;
}

/**
 * How wide the model sees a picture: it lays it on the canvas of tiles that needs the least enlargement, or where all are
 * too small the least reduction (as the image processor of the architecture does). Never more than it is.
 */
export function seenWidth(
  { width, height }: Pick<ModelImage, 'width' | 'height'>,
  tileSize: number,
  maxTiles: number,
): number {
  const scales = supportedAspectRatios(maxTiles).map(([rows, columns]) =>
    Math.min((rows * tileSize) / height, (columns * tileSize) / width),
  );
  const enlarging = scales.filter((scale) => scale >= 1);
  if (enlarging.length > 0) return width;
  return Math.max(1, Math.floor(width * Math.max(...scales)));
}
