import { fstatSync, readdirSync, readSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '#sdk/core/limits.js';
import { type ByteRange, SharedFrames } from '#sdk/model/process/shared-frames.js';
import { engineAddon } from '#sdk/native/index.js';

const MIB = 2 ** 20;
let frames: SharedFrames;

beforeEach(() => {
  frames = new SharedFrames();
});
afterEach(() => {
  frames[Symbol.dispose]();
});

function read({ offsetBytes, sizeBytes }: ByteRange): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  readSync(frames.descriptor, bytes, 0, sizeBytes, offsetBytes);
  return bytes;
}

/** Pages of the file that take up memory. */
const residentBytes = () => fstatSync(frames.descriptor).blocks * 512;

describe('SharedFrames', () => {
  test('gives every picture a range of its own', () => {
    const [a, b] = [frames.write(new Uint8Array(5000).fill(1)), frames.write(new Uint8Array(3).fill(2))];
    expect(read(a)).toEqual(new Uint8Array(5000).fill(1));
    expect(read(b)).toEqual(Uint8Array.of(2, 2, 2));
  });

  test('uses a released range again, and joins neighbours for a larger picture', () => {
    const [a, b, c] = [4096, 4096, 4096].map((size) => frames.write(new Uint8Array(size))) as [
      ByteRange,
      ByteRange,
      ByteRange,
    ];
    frames.release(b);
    frames.release(a);
    expect(frames.write(new Uint8Array(8192)).offsetBytes).toBe(a.offsetBytes);
    expect(frames.write(new Uint8Array(1)).offsetBytes).toBe(c.offsetBytes + 4096);
    expect(read(c)).toEqual(new Uint8Array(4096));
  });

  test('does not grow with the number of pictures', () => {
    for (let i = 0; i < 1000; i++) frames.release(frames.write(new Uint8Array(10_000 + i)));
    expect(fstatSync(frames.descriptor).size).toBeLessThan(64 * 1024);
  });

  test('keeps little memory after a burst, whatever is in use at the beginning of the file', () => {
    const first = frames.write(new Uint8Array(MIB).fill(9));
    const burst = Array.from({ length: 10 }, () => frames.write(new Uint8Array(16 * MIB).fill(1)));
    expect(residentBytes()).toBeGreaterThan(160 * MIB);
    for (const range of burst) frames.release(range);
    expect(residentBytes()).toBeLessThanOrEqual(64 * MIB);
    expect(read(first).every((byte) => byte === 9)).toBe(true);
    const again = Array.from({ length: 5 }, () => frames.write(new Uint8Array(16 * MIB).fill(3)));
    expect(again.map((range) => read(range)[16 * MIB - 1])).toEqual([3, 3, 3, 3, 3]);
  });

  test('bounds what may be under way: busy while others take the room, refused when one alone is too large', () => {
    const most = LIMITS.processFrameBytes;
    const huge = new Uint8Array(0);
    Object.defineProperty(huge, 'byteLength', { value: most + 1 }); // no test needs a gigabyte
    expect(() => frames.write(huge)).toThrow(expect.objectContaining({ code: 'ERR_LIMIT_EXCEEDED' }));
    const half = new Uint8Array(MIB);
    const held = frames.write(half);
    Object.defineProperty(half, 'byteLength', { value: most });
    expect(() => frames.write(half)).toThrow(expect.objectContaining({ code: 'ERR_BUSY' }));
    frames.release(held);
    expect(frames.usedBytes).toBe(0);
  });

  test('says what to do where the addon is older than the SDK', () => {
    const addon = engineAddon() as { createSharedMemory?: unknown };
    const { createSharedMemory } = addon;
    try {
      delete addon.createSharedMemory;
      expect(() => new SharedFrames()).toThrow(expect.objectContaining({ code: 'ERR_NATIVE_UNAVAILABLE' }));
    } finally {
      addon.createSharedMemory = createSharedMemory;
    }
  });

  test('has no name in /dev/shm and leaves no descriptor behind', () => {
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const before = descriptors();
    const other = new SharedFrames();
    expect(readdirSync('/dev/shm').filter((name) => name.includes('frames'))).toEqual([]);
    other[Symbol.dispose]();
    other[Symbol.dispose]();
    expect(descriptors()).toBe(before);
  });
});
