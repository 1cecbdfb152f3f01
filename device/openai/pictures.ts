/** Pictures of requests: from data URLs and base64 to pixels, with a bound on what all requests hold together. */
import { decodeImage, LIMITS, type ModelImage } from 'scenebus';
import { ApiError } from './api-error.js';

/** Decoded pixels of all requests together; one picture more may be in the making. */
const HELD_BYTES = 2 ** 30;
const TYPES: readonly string[] = ['jpeg', 'jpg', 'png', 'webp', 'gif', 'tiff', 'avif'];
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** What requests hold of pictures, and whose turn it is to decode: one at a time, so that the peak is known. */
export class PictureStore {
  readonly #mostBytes: number;
  #heldBytes = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(mostBytes: number = HELD_BYTES) {
    this.#mostBytes = mostBytes;
  }

  /** Of one request; gives everything back when disposed of. */
  open(): RequestPictures {
    let ownBytes = 0;
    let isOpen = true;
    const decode = async (bytes: Uint8Array, signal: AbortSignal): Promise<ModelImage> => {
      signal.throwIfAborted();
      if (this.#heldBytes >= this.#mostBytes)
        throw new ApiError(429, 'ERR_BUSY', 'Too many pictures wait for the model. Try again in a moment.');
      const image = await decodeImage(bytes, { signal });
      if (isOpen) {
        ownBytes += image.data.length;
        this.#heldBytes += image.data.length;
      }
      return image;
    };
    return {
      decode: (bytes, signal) => {
        const work = this.#turn.then(() => decode(bytes, signal));
        this.#turn = work.catch(() => {});
        return work;
      },
      [Symbol.dispose]: () => {
        isOpen = false;
        this.#heldBytes -= ownBytes;
        ownBytes = 0;
      },
    };
  }
}

export interface RequestPictures extends Disposable {
  /** @throws SdkError ERR_IMAGE_*; ApiError 429 */
  decode(bytes: Uint8Array, signal: AbortSignal): Promise<ModelImage>;
}

/** @throws ApiError 400, before any is decoded */
export function requireFewPictures(count: number, param: string): void {
  if (count <= LIMITS.promptImages) return;
  const message = `Expected at most ${LIMITS.promptImages} pictures in a request but received ${count}.`;
  throw new ApiError(400, 'too_many_images', message, param);
}

/** @throws ApiError 400 for what is no picture in a data URL: nothing is ever fetched */
export function bytesOfUrl(url: string, param: string): Buffer {
  const comma = url.indexOf(',');
  if (!url.startsWith('data:') || comma === -1) {
    const isRemote = /^(https?|ftp|file):/i.test(url);
    const what = isRemote ? 'This server fetches no pictures from other places' : 'That is no data URL';
    const message = `Expected a picture as data:image/jpeg;base64,… ${what}: send the picture itself.`;
    throw new ApiError(400, 'invalid_image_url', message, param);
  }
  const [type = '', ...attributes] = url.slice(5, comma).toLowerCase().split(';');
  if (!TYPES.some((each) => type === `image/${each}`)) {
    const given = JSON.stringify(type.slice(0, 64));
    const message = `Expected a picture of the type image/${TYPES.join(', image/')} but received ${given}.`;
    throw new ApiError(400, 'invalid_image_format', message, param);
  }
  if (attributes.at(-1) !== 'base64')
    throw new ApiError(400, 'invalid_image_url', 'Expected a data URL that ends its type with ;base64.', param);
  return bytesOfBase64(url.slice(comma + 1), param);
}

/** @throws ApiError 400; Node itself would pass over what is no base64 */
export function bytesOfBase64(text: string, param: string): Buffer {
  if (text === '' || !BASE64.test(text))
    throw new ApiError(400, 'invalid_base64', 'Expected the picture in base64.', param);
  return Buffer.from(text, 'base64');
}
