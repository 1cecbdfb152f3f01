/**
 * Pixels on their way to the model process: one memory file without a name, written by the parent and mapped by the
 * child. Every picture has a range of its own until its call has ended; ranges are reused, and memory that is not needed
 * any more goes back to the system.
 */
import { closeSync, ftruncateSync, writeSync } from 'node:fs';
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { type EngineAddon, engineAddon } from '../../native/index.js';

const PAGE_BYTES = 4096;
/** Kept for the next pictures; two of 3840 × 2160. Fresh pages cost more than the copy into them. */
const KEPT_BYTES = 64 * 2 ** 20;

export interface ByteRange {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export class SharedFrames implements Disposable {
  readonly #descriptor: number;
  /** Unused ranges in order of offset, neighbours joined; the last may end where the file does. */
  #free: ByteRange[] = [];
  /** Length of the file. */
  #endBytes = 0;
  /** No page lies beyond. */
  #writtenBytes = 0;
  #usedBytes = 0;
  #isClosed = false;

  /** @throws SdkError ERR_NATIVE_UNAVAILABLE */
  constructor() {
    const addon: Partial<EngineAddon> = engineAddon();
    if (addon.createSharedMemory === undefined) {
      throw new SdkError(
        'ERR_NATIVE_UNAVAILABLE',
        'Expected an addon that can run models in a process of their own, but the one that is built is older. Run `npm run build:native`, or `npx scenebus setup` where it is installed as a package.',
      );
    }
    this.#descriptor = addon.createSharedMemory();
  }

  get descriptor(): number {
    return this.#descriptor;
  }

  /** Handed out now. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /**
   * The one copy.
   * @throws SdkError ERR_LIMIT_EXCEEDED for more than there may ever be at once, ERR_BUSY while others take up the room,
   *   ERR_ENGINE_OUT_OF_MEMORY when the system has none
   */
  write(bytes: Uint8Array): ByteRange {
    const range = this.#take(bytes.byteLength);
    try {
      for (let done = 0; done < bytes.byteLength; )
        done += writeSync(this.#descriptor, bytes, done, bytes.byteLength - done, range.offsetBytes + done);
    } catch (cause) {
      this.release(range);
      throw outOfMemory(cause);
    }
    return range;
  }

  /** Nobody reads the range any more. */
  release(range: ByteRange): void {
    if (this.#isClosed) return;
    const taken = toPages(range);
    this.#usedBytes -= taken.sizeBytes;
    this.#free = joined([...this.#free, taken]);
    this.#giveBack();
  }

  /** Memory goes when the child has unmapped it too, which its end does. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeSync(this.#descriptor);
  }

  /** First fit: what is in use gathers at the beginning, so that the end can be given back. */
  #take(sizeBytes: number): ByteRange {
    const wanted = roundToPages(sizeBytes);
    const most = LIMITS.processFrameBytes;
    if (wanted > most) {
      throw new SdkError(
        'ERR_LIMIT_EXCEEDED',
        `Expected at most ${most} bytes of pixels for the model process at once but received ${sizeBytes}.`,
        { details: { sizeBytes, most } },
      );
    }
    if (this.#usedBytes + wanted > most) {
      throw new SdkError(
        'ERR_BUSY',
        `Expected at most ${most} bytes of pixels to wait for the model process. Ask again when an answer has come.`,
        { details: { waitingBytes: this.#usedBytes, most } },
      );
    }
    const index = this.#free.findIndex((each) => each.sizeBytes >= wanted);
    const offsetBytes = index < 0 ? this.#extend(wanted) : this.#cut(index, wanted);
    this.#usedBytes += wanted;
    this.#writtenBytes = Math.max(this.#writtenBytes, offsetBytes + wanted);
    return { offsetBytes, sizeBytes };
  }

  #cut(index: number, wanted: number): number {
    const { offsetBytes, sizeBytes } = this.#free[index]!;
    const rest = { offsetBytes: offsetBytes + wanted, sizeBytes: sizeBytes - wanted };
    this.#free.splice(index, 1, ...(rest.sizeBytes > 0 ? [rest] : []));
    return offsetBytes;
  }

  #extend(wanted: number): number {
    const offsetBytes = this.#endBytes;
    try {
      ftruncateSync(this.#descriptor, offsetBytes + wanted);
    } catch (cause) {
      throw outOfMemory(cause);
    }
    this.#endBytes += wanted;
    return offsetBytes;
  }

  #giveBack(): void {
    const last = this.#free.at(-1);
    if (last === undefined || last.offsetBytes + last.sizeBytes < this.#writtenBytes) return;
    const keptBytes = Math.max(last.offsetBytes, KEPT_BYTES);
    if (keptBytes >= this.#writtenBytes) return;
    engineAddon().releaseSharedMemory(this.#descriptor, keptBytes, this.#writtenBytes - keptBytes);
    this.#writtenBytes = keptBytes;
  }
}

function roundToPages(sizeBytes: number): number {
  return Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES;
}

function toPages({ offsetBytes, sizeBytes }: ByteRange): ByteRange {
  return { offsetBytes, sizeBytes: roundToPages(sizeBytes) };
}

function joined(ranges: ByteRange[]): ByteRange[] {
  const result: ByteRange[] = [];
  for (const range of ranges.sort((a, b) => a.offsetBytes - b.offsetBytes)) {
    const before = result.at(-1);
    if (before !== undefined && before.offsetBytes + before.sizeBytes === range.offsetBytes) {
      result[result.length - 1] = { ...before, sizeBytes: before.sizeBytes + range.sizeBytes };
    } else result.push(range);
  }
  return result;
}

function outOfMemory(cause: unknown): SdkError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new SdkError('ERR_ENGINE_OUT_OF_MEMORY', `The pixels could not be handed to the model process: ${why}.`, {
    cause,
  });
}
