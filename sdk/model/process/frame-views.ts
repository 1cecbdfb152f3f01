/** The child's side of SharedFrames: pixels where they lie, without a copy. */
import { FIRST_DESCRIPTOR } from '../../child/index.js';
import { type MappedFile, openMappedFile } from '../../native/index.js';
import type { ByteRange } from './shared-frames.js';

const FILE = `/proc/self/fd/${FIRST_DESCRIPTOR}`;
/** Cameras keep sending pictures of the same few sizes, and mapping costs a page fault for every 4 KB. */
const KEPT_VIEWS = 8;

export class FrameViews {
  readonly #views = new Map<string, MappedFile>(); // in order of use, oldest first
  /** How many calls read from a view now. */
  readonly #readers = new Map<string, number>();

  /** Valid until `release`; the parent does not write into a range that is in use. */
  open(range: ByteRange): Uint8Array {
    const key = keyOf(range);
    const view = this.#views.get(key) ?? openMappedFile(FILE, range);
    this.#views.delete(key);
    this.#views.set(key, view);
    this.#readers.set(key, (this.#readers.get(key) ?? 0) + 1);
    return view.bytes;
  }

  release(range: ByteRange): void {
    const key = keyOf(range);
    const readers = (this.#readers.get(key) ?? 0) - 1;
    if (readers > 0) this.#readers.set(key, readers);
    else this.#readers.delete(key);
    for (const [oldest, view] of this.#views) {
      if (this.#views.size <= KEPT_VIEWS) return;
      if (this.#readers.has(oldest)) continue;
      this.#views.delete(oldest);
      view[Symbol.dispose]();
    }
  }
}

function keyOf({ offsetBytes, sizeBytes }: ByteRange): string {
  return `${offsetBytes}+${sizeBytes}`;
}
