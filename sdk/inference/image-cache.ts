import { createHash } from 'node:crypto';
import type { PixelImage } from '../core/image.js';
import type { ImageState } from '../engine/engine.js';

/**
 * Identity of a picture: its pixels. A frame's id would be cheaper, but ids repeat (two cameras, a camera opened
 * again) and callers may draw into a frame's pixels; 1280×720 hashes in a few milliseconds, encoding takes hundreds.
 */
export function imageKey(image: PixelImage): string {
  return createHash('sha256')
    .update(`${image.format} ${image.width}x${image.height} `)
    .update(image.data)
    .digest('hex');
}

/** Vision features of the pictures seen last, bounded by number and bytes; the least recently used goes first. */
export class ImageCache implements Disposable {
  readonly #states = new Map<string, ImageState>(); // in order of use, oldest first
  readonly #maxImages: number;
  readonly #maxBytes: number;

  constructor(limits: { readonly maxImages: number; readonly maxBytes: number }) {
    this.#maxImages = limits.maxImages;
    this.#maxBytes = limits.maxBytes;
  }

  get size(): number {
    return this.#states.size;
  }

  get(key: string): ImageState | undefined {
    const state = this.#states.get(key);
    if (state === undefined) return undefined;
    this.#states.delete(key);
    this.#states.set(key, state);
    return state;
  }

  /** Owns the state from here on. */
  set(key: string, state: ImageState): void {
    this.#states.get(key)?.[Symbol.dispose]();
    this.#states.delete(key);
    this.#states.set(key, state);
  }

  /** Disposes the oldest until the bounds hold with `incoming` more; never one of `keep`, which a running turn uses. */
  trim(keep: ReadonlySet<string>, incoming = 0): void {
    let sizeBytes = 0;
    for (const state of this.#states.values()) sizeBytes += state.sizeBytes;
    for (const [key, state] of this.#states) {
      if (this.#states.size + incoming <= this.#maxImages && sizeBytes <= this.#maxBytes) return;
      if (keep.has(key)) continue;
      this.#states.delete(key);
      sizeBytes -= state.sizeBytes;
      state[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    for (const state of this.#states.values()) state[Symbol.dispose]();
    this.#states.clear();
  }
}
