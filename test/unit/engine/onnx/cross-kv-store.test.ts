import { describe, expect, test } from 'vitest';
import { CrossKeyValues, type ImageKeyValues } from '#sdk/engine/onnx/cross-kv-store.js';

// Two key heads of size 2, cross layers 1 and 3.
const text = { crossAttentionLayers: [1, 3], keyValueHeads: 2, headDim: 2 } as never;
/** Values say image, layer and place. */
function image(id: number, keys: number): ImageKeyValues {
  const tensor = (layer: number, sign: number) =>
    Float32Array.from({ length: 2 * keys * 2 }, (_, i) => sign * (id * 1000 + layer * 100 + i));
  return {
    numTiles: 1,
    keys,
    layers: new Map([1, 3].map((layer) => [layer, { key: tensor(layer, 1), value: tensor(layer, -1) }])),
  };
}
function store() {
  const images = new CrossKeyValues(text);
  const sizes = [images.add(1, image(1, 1)), images.add(2, image(2, 3)), images.add(3, image(3, 2))];
  return { images, sizes };
}

test('one image is used as it is', () => {
  const { images, sizes } = store();
  expect(images.joined([2])).toBe(images.get(2));
  expect(sizes).toEqual([64, 192, 128]);
});

test('several lie one after another under each head', () => {
  const { images } = store();
  const { keys, layers } = images.joined([1, 2]);
  expect(keys).toBe(4);
  expect([...layers.get(1)!.key]).toEqual([
    ...[1100, 1101, 2100, 2101, 2102, 2103, 2104, 2105],
    ...[1102, 1103, 2106, 2107, 2108, 2109, 2110, 2111],
  ]);
  expect([...layers.get(3)!.value].slice(0, 4)).toEqual([-1300, -1301, -2300, -2301]);
});

test('the order of the images is the order of the keys', () => {
  const { images } = store();
  expect([...images.joined([3, 1]).layers.get(1)!.key].slice(0, 6)).toEqual([3100, 3101, 3102, 3103, 1100, 1101]);
});

test('a set is joined once while it is in use, and two are kept', () => {
  const { images } = store();
  const first = images.joined([1, 2]);
  expect(images.joined([1, 2])).toBe(first);
  images.joined([2, 3]);
  expect(images.joined([1, 2])).toBe(first);
  images.joined([1, 3]); // now the oldest, [2, 3], goes
  expect(images.joined([1, 2])).toBe(first);
  images.joined([3, 2]);
  images.joined([2, 1]);
  expect(images.joined([1, 2])).not.toBe(first);
});

describe('an image that goes', () => {
  test('takes its sets with it', () => {
    const { images } = store();
    const set = images.joined([1, 2]);
    images.delete(2);
    expect(() => images.joined([1, 2])).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
    images.add(2, image(2, 3));
    expect(images.joined([1, 2])).not.toBe(set);
  });

  test('is missed by its name', () => {
    const { images } = store();
    images.delete(3);
    images.delete(3);
    expect(() => images.get(3)).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
  });
});

test('no image is one key of zeros', () => {
  const { keys, layers } = store().images.joined([]);
  expect(keys).toBe(1);
  for (const layer of [1, 3]) expect([...layers.get(layer)!.key]).toEqual([0, 0, 0, 0]);
});
