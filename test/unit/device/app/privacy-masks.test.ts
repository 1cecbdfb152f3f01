import type { Frame, FrameGlance } from 'scenebus';
import { describe, expect, test } from 'vitest';
import { maskCamera, type Polygon, PrivacyMasks } from '#device/app/privacy-masks.js';
import { FakeCamera, fakeFrame } from '../../../support/device-fakes.js';

const FILLED = 128;

function pictureOf(width: number, height: number): Frame {
  return { ...fakeFrame(1), width, height, data: new Uint8Array(3 * width * height).fill(200) };
}

/** `#`: filled in all three channels, `.`: as it was. */
function shown({ data, width, height }: Frame): string[] {
  return Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, x) => {
      const levels = new Set(data.subarray(3 * (y * width + x), 3 * (y * width + x) + 3));
      if (levels.size !== 1) return '?';
      return levels.has(FILLED) ? '#' : '.';
    }).join(''),
  );
}

const masked = (polygons: readonly Polygon[], width = 8, height = 4) =>
  shown(new PrivacyMasks(polygons).apply(pictureOf(width, height)));

describe('privacy masks', () => {
  test('fill what is inside and every pixel that the outline touches', () => {
    const rectangle: Polygon = [
      [0.3, 0.3],
      [0.7, 0.3],
      [0.7, 0.7],
      [0.3, 0.7],
    ];
    expect(masked([rectangle])).toEqual(['........', '..####..', '..####..', '........']);
    const triangle: Polygon = [
      [0, 0],
      [1, 0],
      [0, 1],
    ];
    expect(masked([triangle], 4, 4)).toEqual(['####', '###.', '##..', '#...']);
  });

  test('may be bent, lie over each other and over the border of the picture, and be smaller than a pixel', () => {
    const letterU: Polygon = [
      [0, 0],
      [0.25, 0],
      [0.25, 0.5],
      [0.75, 0.5],
      [0.75, 0],
      [1, 0],
      [1, 1],
      [0, 1],
    ];
    const rows = masked([letterU], 16, 8);
    expect(rows[0]).toMatch(/^#{4,5}\.+#{4,5}$/);
    expect(rows[7]).toBe('#'.repeat(16));
    const whole: Polygon = [
      [0, 0],
      [1, 0],
      [1, 1],
      [0, 1],
    ];
    expect(masked([whole, letterU]).join('')).toMatch(/^#+$/);
    const speck: Polygon = [
      [0.51, 0.51],
      [0.511, 0.51],
      [0.51, 0.511],
    ];
    expect(masked([speck])).toEqual(['........', '........', '....#...', '........']);
    const corner: Polygon = [
      [1, 1],
      [1, 1],
      [1, 1],
    ];
    expect(masked([corner])[3]).toBe('.......#');
  });

  test('cover, for any polygon, at least every pixel whose middle is inside', () => {
    let state = 7;
    const random = () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return state / 2 ** 32;
    };
    for (let round = 0; round < 200; round++) {
      const polygon = Array.from({ length: 3 + Math.floor(6 * random()) }, () => [random(), random()] as const);
      const rows = masked([polygon], 24, 16);
      for (let y = 0; y < 16; y++)
        for (let x = 0; x < 24; x++)
          if (isInside(polygon, (x + 0.5) / 24, (y + 0.5) / 16)) expect(rows[y]![x], JSON.stringify(polygon)).toBe('#');
    }
  });

  test('follow the size of the frames', () => {
    const masks = new PrivacyMasks([
      [
        [0, 0],
        [0.5, 0],
        [0.5, 1],
        [0, 1],
      ],
    ]);
    // The outline runs between two pixels: it touches both.
    expect(shown(masks.apply(pictureOf(4, 2)))).toEqual(['###.', '###.']);
    const larger = shown(masks.apply(pictureOf(10, 2)))[0]!;
    expect(larger).toBe('######....');
  });

  test('hold for whatever is read of a camera, in a loop or one by one', async () => {
    const camera = new FakeCamera();
    const half: Polygon = [
      [0, 0],
      [1, 0],
      [1, 0.5],
      [0, 0.5],
    ];
    const seen = maskCamera(camera, [half]);
    camera.newest = fakeFrame(1, 200);
    expect((await seen.read()).data[0]).toBe(FILLED);
    camera.newest = fakeFrame(2, 200);
    for await (const frame of seen.frames()) expect(frame.data[0]).toBe(FILLED);
    camera.newest = fakeFrame(3, 200);
    for await (const frame of seen) {
      expect(frame.data[0]).toBe(FILLED);
      expect(frame.data.at(-1)).toBe(200);
    }
    const skip = (glance: FrameGlance) => {
      const cells = glance.greyThumbnail(1, 4);
      expect([cells[0], cells[3]]).toEqual([FILLED, 200]);
      return true;
    };
    for await (const _ of seen.frames({ skip })) expect.unreachable();
    expect(maskCamera(camera, [])).toBe(camera);
    await seen[Symbol.asyncDispose]();
    expect(camera.status.state).toBe('closed');
  });
});

/** Ray casting, the textbook way. */
function isInside(polygon: Polygon, x: number, y: number): boolean {
  let inside = false;
  polygon.forEach(([x1, y1], i) => {
    const [x2, y2] = polygon[(i + 1) % polygon.length]!;
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
  });
  return inside;
}
