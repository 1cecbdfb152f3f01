import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createImageProcessor, decodeImage, type ImageProcessorConfig, type PixelImage } from '#sdk/image/index.js';
import { engineAddon } from '#sdk/native/index.js';
import { readTensors } from '../checkpoint/checkpoint-folder.js';
import { type PictureFormula, picture, swapChannels } from './pictures.js';

const GOLDEN = fileURLToPath(new URL('../../fixtures/golden/processor/', import.meta.url));

interface GoldenCase extends PictureFormula {
  readonly sha256_rgb: string;
  readonly sha256_resized: string;
  readonly resized_h_w: [number, number];
  readonly canvas_h_w: [number, number];
  readonly num_tiles: number;
  readonly aspect_ratio_id: number;
  readonly png: string | null;
}
const golden = JSON.parse(readFileSync(join(GOLDEN, 'processor_56.json'), 'utf8')) as {
  cases: Record<string, GoldenCase>;
  batches: Record<string, { images: PictureFormula[][]; num_tiles: number[][]; aspect_ratio_ids: number[][] }>;
};
const tensors = readTensors(join(GOLDEN, 'processor_56.safetensors'));

const CLIP: Omit<ImageProcessorConfig, 'tileSize'> = {
  maxTiles: 4,
  supportedAspectRatios: [
    [1, 1],
    [1, 2],
    [1, 3],
    [1, 4],
    [2, 1],
    [2, 2],
    [3, 1],
    [4, 1],
  ],
  rescaleFactor: 0.00392156862745098,
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};
const processor56 = createImageProcessor({ ...CLIP, tileSize: 56 });
const processor560 = createImageProcessor({ ...CLIP, tileSize: 560 });

const sha256 = (bytes: Uint8Array | Float32Array) => createHash('sha256').update(bytes).digest('hex');
const floats = (name: string) => {
  const { data } = tensors.get(name)!;
  return new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.length));
};
const bytesOf = (array: Float32Array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);

/** The canvas before normalisation, which no product path returns. */
function tileBytes(image: PixelImage, tileSize: number) {
  return engineAddon().processImage(image.data, {
    width: image.width,
    height: image.height,
    bgr: image.format === 'bgr8',
    tileSize,
    maxTiles: 4,
    aspectRatios: Int32Array.from(CLIP.supportedAspectRatios.flat()),
    rescaleFactor: CLIP.rescaleFactor,
    mean: Float64Array.from(CLIP.mean),
    std: Float64Array.from(CLIP.std),
    wantTileBytes: true,
  });
}

/** The resized picture, put together again from its tiles. */
function untile(bytes: Uint8Array, width: number, height: number, canvasWidth: number, side: number): Uint8Array {
  const columns = canvasWidth / side;
  const out = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const tile = Math.floor(y / side) * columns + Math.floor(x / side);
      for (let c = 0; c < 3; c += 1) {
        out[(y * width + x) * 3 + c] = bytes[((tile * 3 + c) * side + (y % side)) * side + (x % side)]!;
      }
    }
  }
  return out;
}

describe('the image processor against recorded reference data, tile 56', () => {
  test.each(Object.entries(golden.cases))('%s', async (name, reference) => {
    const image = name.startsWith('mode_') ? await decodeImage(join(GOLDEN, reference.png!)) : picture(reference);
    expect(sha256(image.data)).toBe(reference.sha256_rgb);
    if (reference.png !== null) {
      const decoded = await decodeImage(join(GOLDEN, reference.png));
      expect(sha256(decoded.data)).toBe(reference.sha256_rgb);
    }
    const processed = await processor56.process(image);
    expect(processed).toMatchObject({
      aspectRatioId: reference.aspect_ratio_id,
      numTiles: reference.num_tiles,
      geometry: {
        sourceWidth: reference.width,
        sourceHeight: reference.height,
        resizedHeight: reference.resized_h_w[0],
        resizedWidth: reference.resized_h_w[1],
        canvasHeight: reference.canvas_h_w[0],
        canvasWidth: reference.canvas_h_w[1],
        tileSize: 56,
      },
    });
    const expected = floats(`${name}.tiles`);
    expect(processed.pixelValues.length).toBe(4 * 3 * 56 * 56);
    expect(sha256(processed.pixelValues.subarray(0, expected.length))).toBe(sha256(expected));
    expect(processed.pixelValues.subarray(expected.length).every((value) => value === 0)).toBe(true);

    const [height, width] = reference.resized_h_w;
    const { tileBytes: bytes } = await tileBytes(image, 56);
    const resized = untile(bytes!, width, height, reference.canvas_h_w[1], 56);
    expect(sha256(resized)).toBe(reference.sha256_resized);
    const whole = tensors.get(`${name}.resized`);
    if (whole !== undefined) expect(Buffer.compare(resized, whole.data)).toBe(0);

    const swapped = await processor56.process(swapChannels(image));
    expect(sha256(swapped.pixelValues)).toBe(sha256(processed.pixelValues));
  });

  test.each(Object.entries(golden.batches))('%s: images of a batch come out as when alone', async (_, batch) => {
    for (const [sample, images] of batch.images.entries()) {
      for (const [i, image] of images.entries()) {
        const processed = await processor56.process(picture(image));
        expect(processed.numTiles).toBe(batch.num_tiles[sample]![i]);
        expect(processed.aspectRatioId).toBe(batch.aspect_ratio_ids[sample]![i]);
        const name = `${image.kind}_s${image.seed}_${image.width}x${image.height}`;
        const alone = floats(`${name}.tiles`);
        expect(sha256(processed.pixelValues.subarray(0, alone.length))).toBe(sha256(alone));
      }
    }
  });
});

describe('the image processor against the published hashes, tile 560', () => {
  test.each([
    [640, 480, 2, 2, 640, 480, '80289bf8be945428', 'd19354027b08adda', [0, 17, 101], [204, 233, 152], -0.762596],
    [1920, 1080, 6, 4, 1120, 630, '739e82c6882eef79', '51b95110ed00947a', [9, 20, 107], [59, 158, 66], -0.626233],
    [320, 240, 1, 1, 560, 420, 'f0795da6440f3337', '1bc7cebc9ac7bdc4', [0, 17, 101], [220, 121, 248], -0.27592],
    [1280, 720, 6, 4, 1120, 630, '6d6e0617c4768856', 'fc2e22d86d35f7d0', [3, 19, 103], [121, 23, 246], -0.626166],
    [1080, 1920, 6, 4, 630, 1120, 'b9df07523be61722', '5247aec9d2905f44', [9, 20, 107], [235, 46, 186], -0.62622],
    [2448, 2048, 6, 4, 1120, 936, '7e15dab8246e1c3e', 'f11de906a1c7bf94', [16, 23, 112], [204, 179, 125], -0.118214],
  ] as const)('%i×%i', async (width, height, id, count, newWidth, newHeight, u8, f32, first, last, mean) => {
    const image = picture({ kind: 'linear', width, height, seed: 0 });
    const processed = await processor560.process(image);
    expect(processed.aspectRatioId).toBe(id);
    expect(processed.numTiles).toBe(count);
    expect(processed.geometry.resizedWidth).toBe(newWidth);
    expect(processed.geometry.resizedHeight).toBe(newHeight);
    const used = processed.pixelValues.subarray(0, count * 3 * 560 * 560);
    expect(sha256(bytesOf(used)).slice(0, 16)).toBe(f32);
    let sum = 0;
    for (const value of used) sum += value;
    expect(sum / used.length).toBeCloseTo(mean, 5);

    const { tileBytes: bytes, canvasWidth } = await tileBytes(image, 560);
    expect(sha256(bytes!).slice(0, 16)).toBe(u8);
    const resized = untile(bytes!, newWidth, newHeight, canvasWidth, 560);
    expect([...resized.subarray(0, 3)]).toEqual([...first]);
    expect([...resized.subarray(-3)]).toEqual([...last]);
  });

  test.each([
    [3840, 2160, 6, 1120, 630],
    [1024, 768, 6, 1024, 768],
    [800, 600, 6, 800, 600],
    [1280, 960, 6, 1120, 840],
    [560, 560, 1, 560, 560],
    [561, 560, 2, 561, 560],
    [4000, 1000, 4, 2240, 560],
    [5000, 50, 4, 2240, 22],
    [1, 5000, 8, 1, 2240],
    [5000, 1, 4, 2240, 1],
    [1, 1, 1, 560, 560],
  ])('lays %i×%i on arrangement %i at %i×%i', async (width, height, id, newWidth, newHeight) => {
    const data = new Uint8Array(width * height * 3).fill(200);
    const { aspectRatioId, geometry } = await processor560.process({ width, height, format: 'rgb8', data });
    expect([aspectRatioId, geometry.resizedWidth, geometry.resizedHeight]).toEqual([id, newWidth, newHeight]);
  });
});

describe('the image processor and bad input', () => {
  const good = picture({ kind: 'grad', width: 4, height: 3, seed: 0 });
  test.each([
    ['0×0', { ...good, width: 0, height: 0, data: new Uint8Array(0) }, 'ERR_IMAGE_INVALID', /at least 1×1/],
    ['a fraction', { ...good, width: 4.5 }, 'ERR_IMAGE_INVALID', /4.5×3/],
    [
      'too few bytes',
      { ...good, data: good.data.subarray(1) },
      'ERR_IMAGE_INVALID',
      /Expected 36 bytes.*received 35 bytes/,
    ],
    ['no bytes', { ...good, data: [1, 2, 3] as unknown as Uint8Array }, 'ERR_IMAGE_INVALID', /received object/],
    ['another format', { ...good, format: 'nv12' as 'rgb8' }, 'ERR_IMAGE_INVALID', /rgb8 or bgr8/],
    ['20000×20000', { ...good, width: 20_000, height: 20_000 }, 'ERR_IMAGE_TOO_LARGE', /at most 16384 pixels a side/],
    ['too many pixels', { ...good, width: 16_000, height: 16_000 }, 'ERR_IMAGE_TOO_LARGE', /67108864 in all/],
  ])('refuses %s', async (_, image, code, message) => {
    await expect(processor56.process(image)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test('rejects with the reason of an aborted signal', async () => {
    const reason = new Error('enough');
    await expect(processor56.process(good, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test('serves many callers at once', async () => {
    const image = picture({ kind: 'waves', width: 113, height: 111, seed: 11 });
    const results = await Promise.all(Array.from({ length: 16 }, () => processor56.process(image)));
    expect(new Set(results.map((result) => sha256(result.pixelValues))).size).toBe(1);
  });

  test('returns buffers that can be moved to another thread', async () => {
    const { pixelValues } = await processor56.process(good);
    const moved = structuredClone(pixelValues, { transfer: [pixelValues.buffer as ArrayBuffer] });
    expect(moved.length).toBe(4 * 3 * 56 * 56);
    expect(pixelValues.length).toBe(0);
  });
});

describe('a picture that the addon cannot process', () => {
  test.each([
    ['ERR_ENGINE_OUT_OF_MEMORY', 'ERR_ENGINE_OUT_OF_MEMORY', true],
    ['ERR_IMAGE_INVALID', 'ERR_IMAGE_INVALID', false],
    // What the addon calls every exception of the standard library: no engine is to blame.
    ['ERR_ENGINE_FAILED', 'ERR_INTERNAL', false],
    ['E_UNHEARD_OF', 'ERR_INTERNAL', false],
    [undefined, 'ERR_INTERNAL', false],
  ] as const)('fails with its own kind: %s is %s', async (code, expected, retryable) => {
    const cause = Object.assign(new Error('no'), code === undefined ? {} : { code });
    const spy = vi.spyOn(engineAddon(), 'processImage').mockRejectedValue(cause);
    onTestFinished(() => spy.mockRestore());
    const image = { width: 1, height: 1, format: 'rgb8', data: new Uint8Array(3) } as const;
    await expect(processor56.process(image)).rejects.toMatchObject({ code: expected, retryable, cause });
  });
});
