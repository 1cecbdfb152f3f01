import { describe, expect, test } from 'vitest';
import { ImageCache, imageKey } from '#sdk/inference/image-cache.js';

const pixels = (value: number, width = 2, height = 1) => ({
  width,
  height,
  format: 'rgb8' as const,
  data: new Uint8Array(width * height * 3).fill(value),
});

describe('imageKey', () => {
  test('follows pixels, shape and format, not the object or its id', () => {
    const key = imageKey(pixels(1));
    const named = { ...pixels(1), id: 'other' };
    expect(imageKey(named)).toBe(key);
    expect(imageKey(pixels(2))).not.toBe(key);
    expect(imageKey(pixels(1, 1, 2))).not.toBe(key);
    expect(imageKey({ ...pixels(1), format: 'bgr8' })).not.toBe(key);
  });

  test('notices that pixels changed in place', () => {
    const image = pixels(1);
    const key = imageKey(image);
    image.data[5] = 9;
    expect(imageKey(image)).not.toBe(key);
  });
});

describe('ImageCache', () => {
  const make = (maxImages: number, maxBytes: number) => {
    const disposed: string[] = [];
    const cache = new ImageCache({ maxImages, maxBytes });
    const put = (key: string, sizeBytes = 10) =>
      cache.set(key, { id: 0, numTiles: 1, sizeBytes, [Symbol.dispose]: () => void disposed.push(key) });
    return { cache, put, disposed };
  };

  test('drops the least recently used beyond the number', () => {
    const { cache, put, disposed } = make(2, 1e9);
    put('a');
    put('b');
    expect(cache.get('a')).toBeDefined();
    put('c');
    cache.trim();
    expect(disposed).toEqual(['b']);
    expect([cache.get('a'), cache.get('b'), cache.get('c')].map(Boolean)).toEqual([true, false, true]);
  });

  test('drops beyond the bytes, and makes room for what comes', () => {
    const { cache, put, disposed } = make(10, 25);
    put('a');
    put('b');
    put('c');
    cache.trim();
    expect(disposed).toEqual(['a']);
    const full = make(2, 1e9);
    full.put('a');
    full.put('b');
    full.cache.trim(1);
    expect(full.disposed).toEqual(['a']);
  });

  test('never drops what a generation has pinned', () => {
    const { cache, put, disposed } = make(1, 0);
    put('a');
    put('b');
    put('c');
    cache.pin(['a', 'c']);
    cache.trim();
    expect(disposed).toEqual(['b']);
    expect(cache.size).toBe(2);
  });

  test('disposes what is replaced and everything at the end', () => {
    const { cache, put, disposed } = make(5, 1e9);
    put('a');
    put('a');
    expect(disposed).toEqual(['a']);
    put('b');
    cache[Symbol.dispose]();
    expect(disposed).toEqual(['a', 'a', 'b']);
    expect(cache.size).toBe(0);
  });
});
