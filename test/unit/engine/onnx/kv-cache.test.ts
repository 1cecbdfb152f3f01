import { expect, test } from 'vitest';
import { KeyValueCache } from '#sdk/engine/onnx/kv-cache.js';

const shape = { layers: [0, 2], keyValueHeads: 2, headDim: 3, contextLength: 1000 };
/** `[heads, rows, headDim]`; the value says head, position and channel. */
const rowsFrom = (position: number, rows: number) =>
  Float32Array.from({ length: 2 * rows * 3 }, (_, i) => {
    const [head, row, channel] = [Math.floor(i / (rows * 3)), Math.floor(i / 3) % rows, i % 3];
    return head * 10_000 + (position + row) * 10 + channel;
  });

test('rows stay where they were written, through growth', () => {
  const cache = new KeyValueCache(shape);
  cache.reserve(5, 0);
  expect(cache.capacity).toBe(256);
  for (const layer of shape.layers) cache.write(layer, 0, 5, rowsFrom(0, 5), rowsFrom(500, 5));
  cache.reserve(300, 5);
  expect(cache.capacity).toBe(512);
  for (const layer of shape.layers) {
    cache.write(layer, 5, 295, rowsFrom(5, 295), rowsFrom(505, 295));
    for (const [head, position] of [
      [0, 0],
      [0, 4],
      [1, 4],
      [1, 299],
    ] as const) {
      const at = (head * 512 + position) * 3;
      expect(cache.key(layer)[at + 2]).toBe(head * 10_000 + position * 10 + 2);
      expect(cache.value(layer)[at + 2]).toBe(head * 10_000 + (500 + position) * 10 + 2);
    }
  }
});

test('never grows past the context', () => {
  const cache = new KeyValueCache({ ...shape, contextLength: 300 });
  cache.reserve(1, 0);
  expect(cache.capacity).toBe(256);
  cache.reserve(257, 256);
  expect(cache.capacity).toBe(300);
  const small = new KeyValueCache({ ...shape, contextLength: 8 });
  small.reserve(3, 0);
  expect(small.capacity).toBe(8);
});

test('room that is there is not moved', () => {
  const cache = new KeyValueCache(shape);
  cache.reserve(10, 0);
  const before = cache.key(0);
  cache.reserve(256, 10);
  expect(cache.key(0)).toBe(before);
});
