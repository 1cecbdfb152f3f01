import { describe, expect, test } from 'vitest';
import { ChangeGate, type PixelImage } from '#sdk/image/index.js';
import { engineAddon } from '#sdk/native/index.js';
import { picture, swapChannels } from './pictures.js';

const base = picture({ kind: 'grad', width: 640, height: 360, seed: 0 });

function withNoise(image: PixelImage, amplitude: number): PixelImage {
  const noise = picture({ kind: 'noise', width: image.width, height: image.height, seed: 9 }).data;
  const data = image.data.map((value, i) =>
    Math.max(0, Math.min(255, value + Math.round(((noise[i]! - 127.5) / 127.5) * amplitude))),
  );
  return { ...image, data };
}

function withSquare(image: PixelImage, x0: number, y0: number, side: number): PixelImage {
  const data = Uint8Array.from(image.data);
  for (let y = y0; y < y0 + side; y += 1) data.fill(0, (y * image.width + x0) * 3, (y * image.width + x0 + side) * 3);
  return { ...image, data };
}

function brighter(image: PixelImage, by: number): PixelImage {
  return { ...image, data: image.data.map((value) => Math.min(255, value + by)) };
}

describe('ChangeGate', () => {
  test('lets the first picture through, and the next after a reset', () => {
    const gate = new ChangeGate();
    expect(gate.update(base)).toEqual({
      changed: true,
      mean: Number.POSITIVE_INFINITY,
      maxBlock: Number.POSITIVE_INFINITY,
    });
    expect(gate.update(base)).toEqual({ changed: false, mean: 0, maxBlock: 0 });
    gate.reset();
    expect(gate.update(base).changed).toBe(true);
  });

  test('is not moved by sensor noise', () => {
    const gate = new ChangeGate();
    gate.update(base);
    const measure = gate.update(withNoise(base, 20));
    expect(measure.changed).toBe(false);
    expect(measure.mean).toBeLessThan(2);
  });

  test('notices a thing of a fifteenth of the width, which the mean alone would miss', () => {
    const gate = new ChangeGate();
    gate.update(base);
    const measure = gate.update(withSquare(base, 400, 200, 44));
    expect(measure.changed).toBe(true);
    expect(measure.mean).toBeLessThan(4);
    expect(measure.maxBlock).toBeGreaterThan(16);
  });

  test('adds up slow drift, because the reference stays', () => {
    const gate = new ChangeGate();
    gate.update(base);
    expect(gate.update(brighter(base, 2)).changed).toBe(false);
    expect(gate.update(brighter(base, 3)).changed).toBe(false);
    expect(gate.update(brighter(base, 6)).changed).toBe(true);
    expect(gate.update(brighter(base, 6)).mean).toBe(0);
  });

  test('compares without moving the reference', () => {
    const gate = new ChangeGate();
    gate.accept(base);
    const changed = withSquare(base, 0, 0, 200);
    expect(gate.measure(changed).changed).toBe(true);
    expect(gate.measure(changed).changed).toBe(true);
    gate.accept(changed);
    expect(gate.measure(changed)).toEqual({ changed: false, mean: 0, maxBlock: 0 });
  });

  test('sees RGB and BGR alike, and any size', () => {
    const gate = new ChangeGate();
    gate.update(base);
    expect(gate.update(swapChannels(base))).toEqual({ changed: false, mean: 0, maxBlock: 0 });
    for (const [width, height] of [
      [1, 1],
      [3, 5000],
      [63, 35],
    ] as const) {
      const small = picture({ kind: 'noise', width, height, seed: 1 });
      const own = new ChangeGate();
      own.update(small);
      expect(own.update(small)).toMatchObject({ changed: false, mean: 0 });
    }
  });

  test('averages the pixels of a cell', () => {
    const checker: PixelImage = {
      width: 4,
      height: 2,
      format: 'rgb8',
      data: Uint8Array.from([0, 200, 100, 100, 200, 0, 100, 100].flatMap((grey) => [grey, grey, grey])),
    };
    expect([...engineAddon().greyThumbnail(checker.data, 4, 2, false, 2, 1)]).toEqual([100, 100]);
    expect([...engineAddon().greyThumbnail(Uint8Array.from([255, 0, 0]), 1, 1, false, 1, 1)]).toEqual([77]);
    expect([...engineAddon().greyThumbnail(Uint8Array.from([255, 0, 0]), 1, 1, true, 1, 1)]).toEqual([29]);
  });

  test('refuses bad pictures and options', () => {
    const gate = new ChangeGate();
    expect(() => gate.update({ ...base, width: 641 })).toThrow(/Expected 692280 bytes/);
    expect(() => new ChangeGate({ gridWidth: 0 })).toThrow(/gridWidth to be an integer in 1–1024/);
    expect(() => new ChangeGate({ blockSize: 1.5 })).toThrow(/blockSize/);
  });
});
