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

/**
 * Vision features of the pictures seen last, bounded by number and bytes; the least recently used goes first. What a
 * generation has pinned stays, whatever the bounds.
 */
export class ImageCache implements Disposable {
  readonly #states = new Map<string, ImageState>(); // in order of use, oldest first
  /** By key: how many generations look at it. A key may be pinned before its picture is encoded. */
  readonly #pins = new Map<string, number>();
  /** Pinned when everything was forgotten: gone as soon as nobody looks at it any more. */
  readonly #stale = new Set<string>();
  readonly #maxImages: number;
  readonly #maxBytes: number;
  #largestBytes = 0;

  constructor(limits: { readonly maxImages: number; readonly maxBytes: number }) {
    this.#maxImages = limits.maxImages;
    this.#maxBytes = limits.maxBytes;
  }

  get size(): number {
    return this.#states.size;
  }

  get sizeBytes(): number {
    let sum = 0;
    for (const state of this.#states.values()) sum += state.sizeBytes;
    return sum;
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
    this.#largestBytes = Math.max(this.#largestBytes, state.sizeBytes);
  }

  /** Whether the pictures find room beside those that others look at; always when nobody does. */
  hasRoomFor(keys: readonly string[]): boolean {
    if (this.#pins.size === 0) return true;
    const added = new Set(keys.filter((key) => !this.#pins.has(key))).size;
    const bytes = (this.#pins.size + added) * this.#largestBytes;
    return added === 0 || (this.#pins.size + added <= this.#maxImages && bytes <= this.#maxBytes);
  }

  pin(keys: readonly string[]): void {
    for (const key of keys) this.#pins.set(key, (this.#pins.get(key) ?? 0) + 1);
  }

  unpin(keys: readonly string[]): void {
    for (const key of keys) {
      const left = this.#pins.get(key)! - 1;
      if (left > 0) {
        this.#pins.set(key, left);
        continue;
      }
      this.#pins.delete(key);
      if (this.#stale.delete(key)) this.#drop(key);
    }
    this.trim();
  }

  /** Disposes the oldest that nobody looks at, until the bounds hold with `incoming` more. */
  trim(incoming = 0): void {
    let { sizeBytes } = this;
    for (const [key, state] of this.#states) {
      if (this.#states.size + incoming <= this.#maxImages && sizeBytes <= this.#maxBytes) return;
      if (this.#pins.has(key)) continue;
      sizeBytes -= state.sizeBytes;
      this.#drop(key);
    }
  }

  /** Forgets everything; what a generation has pinned, when that ends. */
  [Symbol.dispose](): void {
    for (const key of [...this.#states.keys()]) {
      if (this.#pins.has(key)) this.#stale.add(key);
      else this.#drop(key);
    }
  }

  #drop(key: string): void {
    this.#states.get(key)?.[Symbol.dispose]();
    this.#states.delete(key);
  }
}
