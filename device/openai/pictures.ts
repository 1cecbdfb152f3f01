/**
 * Pictures of requests: data URLs, base64, cameras of this device and addresses that its owner allows, as pixels, with a
 * bound on what all requests hold together.
 */
import { decodeImage, LIMITS, type ModelImage } from 'scenebus';
import { ApiError } from './api-error.js';
import { PICTURE_TYPES } from './picture-types.js';
import type { RemotePictures } from './remote-pictures.js';

/** Decoded pixels of all requests together; one picture more may be in the making. */
const HELD_BYTES = 2 ** 30;

/** A picture, and what an answer about it must say. */
export interface OpenedPicture {
  readonly image: ModelImage;
  /** Of a camera: that it is not of now, for example. */
  readonly notices: readonly string[];
}

/** Gets a picture that a request names. */
export type OpenPicture = (signal: AbortSignal) => Promise<OpenedPicture>;

/** The live cameras of a device, as far as its owner lets the model see. */
export interface CameraPictures {
  /** @throws SdkError ERR_REQUEST_INVALID for a camera that is not there, ERR_CAPTURE_* */
  newest(camera: string, signal: AbortSignal): Promise<OpenedPicture>;
}

/** What pictures can come from besides the request itself. */
export interface PictureSources {
  /** undefined: this server has none. */
  readonly cameras?: CameraPictures | undefined;
  /** undefined: nothing is ever fetched. */
  readonly remote?: RemotePictures | undefined;
  readonly mostBytes?: number | undefined;
}

/** What requests hold of pictures, and whose turn it is to decode: one at a time, so that the peak is known. */
export class PictureStore {
  readonly #sources: PictureSources;
  readonly #mostBytes: number;
  #heldBytes = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(sources: PictureSources = {}) {
    this.#sources = sources;
    this.#mostBytes = sources.mostBytes ?? HELD_BYTES;
  }

  /** Of one request; gives everything back when disposed of. */
  open(): RequestPictures {
    let ownBytes = 0;
    let isOpen = true;
    const requireRoom = () => {
      if (this.#heldBytes >= this.#mostBytes)
        throw new ApiError(429, 'ERR_BUSY', 'Too many pictures wait for the model. Try again in a moment.');
    };
    const hold = (image: ModelImage) => {
      if (!isOpen) return;
      ownBytes += image.data.length;
      this.#heldBytes += image.data.length;
    };
    const decode = (bytes: Uint8Array, signal: AbortSignal): Promise<OpenedPicture> => {
      const work = this.#turn.then(async () => {
        signal.throwIfAborted();
        requireRoom();
        const image = await decodeImage(bytes, { signal });
        hold(image);
        return { image, notices: [] };
      });
      this.#turn = work.catch(() => {});
      return work;
    };
    const { cameras, remote } = this.#sources;
    return {
      ofBase64: (text, param) => {
        const bytes = bytesOfBase64(text, param);
        return (signal) => decode(bytes, signal);
      },
      ofUrl: (url, param) => {
        const camera = /^camera:(.*)$/s.exec(url)?.[1];
        if (camera !== undefined) {
          if (cameras === undefined) throw noCameras(param);
          return async (signal) => {
            requireRoom();
            const opened = await cameras.newest(camera, signal);
            hold(opened.image);
            return opened;
          };
        }
        if (/^https?:/i.test(url) && remote !== undefined) {
          const address = remote.allowed(url, param);
          return async (signal) => {
            requireRoom();
            return await decode(await remote.fetch(address, param, signal), signal);
          };
        }
        const bytes = bytesOfUrl(url, param);
        return (signal) => decode(bytes, signal);
      },
      [Symbol.dispose]: () => {
        isOpen = false;
        this.#heldBytes -= ownBytes;
        ownBytes = 0;
      },
    };
  }
}

/** Both methods refuse at once what is wrong with the text, and leave the rest to the opening. */
export interface RequestPictures extends Disposable {
  /** @throws ApiError 400 */
  ofUrl(url: string, param: string): OpenPicture;
  /** @throws ApiError 400 */
  ofBase64(text: string, param: string): OpenPicture;
}

/** @throws ApiError 400, before any is decoded */
export function requireFewPictures(count: number, param: string): void {
  if (count <= LIMITS.promptImages) return;
  const message = `Expected at most ${LIMITS.promptImages} pictures in a request but received ${count}.`;
  throw new ApiError(400, 'too_many_images', message, param);
}

/** @throws ApiError 400 for what is no picture in a data URL */
function bytesOfUrl(url: string, param: string): Buffer {
  const comma = url.indexOf(',');
  if (!url.startsWith('data:') || comma === -1) {
    const isRemote = /^(https?|ftp|file):/i.test(url);
    const what = isRemote ? 'This server fetches no pictures from other places' : 'That is no data URL';
    const message = `Expected a picture as data:image/jpeg;base64,… ${what}: send the picture itself.`;
    throw new ApiError(400, 'invalid_image_url', message, param);
  }
  const [type = '', ...attributes] = url.slice(5, comma).toLowerCase().split(';');
  if (!PICTURE_TYPES.includes(type)) {
    const given = JSON.stringify(type.slice(0, 64));
    const message = `Expected a picture of the type ${PICTURE_TYPES.join(', ')} but received ${given}.`;
    throw new ApiError(400, 'invalid_image_format', message, param);
  }
  if (attributes.at(-1) !== 'base64')
    throw new ApiError(400, 'invalid_image_url', 'Expected a data URL that ends its type with ;base64.', param);
  return bytesOfBase64(url.slice(comma + 1), param);
}

/**
 * Node passes over what is no base64. Encoding it again tells, in a sixth of the time of a regular expression over a megabyte.
 * @throws ApiError 400
 */
function bytesOfBase64(text: string, param: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  // The last group may be padded or not, and may have bits behind the end that encoding does not bring back.
  const groups = Math.max(0, Math.ceil(text.length / 4) - 1);
  const isBase64 =
    text.startsWith(bytes.toString('base64', 0, groups * 3)) &&
    bytes.length >= groups * 3 &&
    /^[A-Za-z0-9+/]{1,4}={0,2}$/.test(text.slice(groups * 4));
  if (isBase64) return bytes;
  throw new ApiError(400, 'invalid_base64', 'Expected the picture in base64.', param);
}

function noCameras(param: string): ApiError {
  const message = 'This server has no cameras: they are named where the API is part of a device (scenebus run).';
  return new ApiError(400, 'invalid_image_url', message, param);
}
