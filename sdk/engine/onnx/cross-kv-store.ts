/** Cross-attention keys and values of encoded images, and of the sets of images that prompts show together. */
import type { TextArchitecture } from '../../architecture/architecture.js';
import { SdkError } from '../../core/errors.js';

/** `[kvHeads, keys, headDim]` each. */
export interface LayerKeyValues {
  readonly key: Float32Array;
  readonly value: Float32Array;
}

export interface KeyValues {
  readonly keys: number;
  readonly layers: ReadonlyMap<number, LayerKeyValues>;
}

export interface ImageKeyValues extends KeyValues {
  readonly numTiles: number;
}

/** Joined sets kept at a time: the one in use and the one before it. */
const JOINED_SETS = 2;

export class CrossKeyValues {
  readonly #text: TextArchitecture;
  readonly #images = new Map<number, ImageKeyValues>();
  /** In order of last use, by the ids of their images. */
  readonly #joined = new Map<string, { readonly images: readonly number[]; readonly set: KeyValues }>();
  #empty: KeyValues | undefined;

  constructor(text: TextArchitecture) {
    this.#text = text;
  }

  /** @returns Bytes held. */
  add(image: number, keyValues: ImageKeyValues): number {
    this.#images.set(image, keyValues);
    let sizeBytes = 0;
    for (const { key, value } of keyValues.layers.values()) sizeBytes += key.byteLength + value.byteLength;
    return sizeBytes;
  }

  get(image: number): ImageKeyValues {
    const found = this.#images.get(image);
    if (found === undefined) {
      throw new SdkError('ERR_DISPOSED', `Image state ${image} is no longer available; encode the image again.`);
    }
    return found;
  }

  delete(image: number): void {
    this.#images.delete(image);
    for (const [id, { images }] of this.#joined) if (images.includes(image)) this.#joined.delete(id);
  }

  /** The images' keys one after another. One image is used as it is; of none comes a single key of zeros. */
  joined(images: readonly number[]): KeyValues {
    if (images.length === 0) return this.#noImage();
    if (images.length === 1) return this.get(images[0]!);
    const id = images.join(',');
    const set = this.#joined.get(id)?.set ?? this.#join(images.map((image) => this.get(image)));
    this.#joined.delete(id);
    this.#joined.set(id, { images, set });
    for (const oldest of this.#joined.keys()) if (this.#joined.size > JOINED_SETS) this.#joined.delete(oldest);
    return set;
  }

  #join(parts: readonly ImageKeyValues[]): KeyValues {
    const { crossAttentionLayers, keyValueHeads, headDim } = this.#text;
    const keys = parts.reduce((sum, part) => sum + part.keys, 0);
    const joinTensors = (select: (part: ImageKeyValues) => Float32Array) => {
      const joined = new Float32Array(keyValueHeads * keys * headDim);
      for (let head = 0, at = 0; head < keyValueHeads; head++) {
        for (const part of parts) {
          const size = part.keys * headDim;
          joined.set(select(part).subarray(head * size, (head + 1) * size), at);
          at += size;
        }
      }
      return joined;
    };
    const layers = new Map<number, LayerKeyValues>();
    for (const layer of crossAttentionLayers) {
      const key = joinTensors((part) => part.layers.get(layer)!.key);
      const value = joinTensors((part) => part.layers.get(layer)!.value);
      layers.set(layer, { key, value });
    }
    return { keys, layers };
  }

  #noImage(): KeyValues {
    const { crossAttentionLayers, keyValueHeads, headDim } = this.#text;
    const zeros = new Float32Array(keyValueHeads * headDim);
    this.#empty ??= { keys: 1, layers: new Map(crossAttentionLayers.map((l) => [l, { key: zeros, value: zeros }])) };
    return this.#empty;
  }
}
