import type { PixelImage } from '../core/image.js';
import { requirePixelImage } from './pixel-image.js';
import { loadSharp } from './sharp.js';

/**
 * A PNG file of a picture of rgb8: of diagrams and heat maps, whose edges a JPEG would blur.
 * @throws SdkError ERR_IMAGE_INVALID
 */
export async function encodePng(image: PixelImage & { readonly format: 'rgb8' }): Promise<Uint8Array> {
  requirePixelImage(image);
  const { data, width, height } = image;
  const sharp = await loadSharp();
  return await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}
