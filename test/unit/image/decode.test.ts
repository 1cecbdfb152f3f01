import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '#sdk/core/limits.js';
import { decodeImage } from '#sdk/image/index.js';
import { temporaryFolder } from '../checkpoint/checkpoint-folder.js';
import { picture } from './pictures.js';

const GOLDEN = fileURLToPath(new URL('../../fixtures/golden/processor/', import.meta.url));
const image = picture({ kind: 'grad', width: 48, height: 32, seed: 0 });
const raw = { raw: { width: image.width, height: image.height, channels: 3 as const } };

/** A PNG written chunk by chunk, so that any header can be claimed. */
function png(width: number, height: number, bitDepth: number, colorType: number, rows: Buffer): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length);
    body.copy(out, 4);
    out.writeUInt32BE(crc(body), body.length + 4);
    return out;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([bitDepth, colorType], 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** zlib.crc32 came with Node 22.2 and 20.15 only. */
function crc(bytes: Buffer): number {
  let value = 0xffffffff;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return ~value >>> 0;
}

describe('decodeImage', () => {
  test('decodes lossless pictures exactly, from bytes and from a path', async () => {
    const bytes = await sharp(image.data, raw).png().toBuffer();
    const fromBytes = await decodeImage(bytes);
    expect(fromBytes).toMatchObject({ width: 48, height: 32, format: 'rgb8' });
    expect(Buffer.compare(fromBytes.data, image.data)).toBe(0);
    const path = join(temporaryFolder(), 'x.png');
    writeFileSync(path, bytes);
    expect(Buffer.compare((await decodeImage(path)).data, image.data)).toBe(0);
  });

  test.each(['mode_rgba_80x60', 'mode_gray_80x60', 'mode_palette_80x60'])(
    'converts %s as the reference does',
    async (name) => {
      const golden = JSON.parse(readFileSync(join(GOLDEN, 'processor_56.json'), 'utf8'));
      const decoded = await decodeImage(join(GOLDEN, 'images', `${name}.png`));
      expect(createHash('sha256').update(decoded.data).digest('hex')).toBe(golden.cases[name].sha256_rgb);
    },
  );

  test('lays every value and every alpha over white as Pillow does', async () => {
    // (value × alpha + 255 × (255 − alpha)) / 255, rounded to nearest: what Pillow's fixed point amounts to.
    const rgba = Buffer.alloc(256 * 256 * 4);
    for (let i = 0; i < 256 * 256; i += 1) rgba.set([i % 256, i % 256, i % 256, i >> 8], i * 4);
    const bytes = await sharp(rgba, { raw: { width: 256, height: 256, channels: 4 } })
      .png()
      .toBuffer();
    const { data } = await decodeImage(bytes);
    const errors = Float64Array.from({ length: 256 * 256 }, (_, i) => {
      const [value, alpha] = [i % 256, i >> 8];
      return Math.abs(data[i * 3]! - (value * alpha + 255 * (255 - alpha)) / 255);
    });
    expect(errors.reduce((worst, error) => Math.max(worst, error))).toBeLessThanOrEqual(0.5 + 1 / 128);
  });

  test('turns 16-bit samples into 8-bit ones', async () => {
    const row = Buffer.alloc(1 + 3 * 6);
    for (const [i, value] of [0x0000, 0x8080, 0xffff, 0x1234, 0x7fff, 0xff00, 0x00ff, 0xabcd, 0x4321].entries()) {
      row.writeUInt16BE(value, 1 + i * 2);
    }
    const { data } = await decodeImage(png(3, 1, 16, 2, row));
    expect([...data]).toEqual([0x00, 0x80, 0xff, 0x12, 0x7f, 0xff, 0x00, 0xab, 0x43]);
  });

  test('turns 16-bit grey into three equal channels', async () => {
    const { data } = await decodeImage(png(2, 1, 16, 0, Buffer.from([0, 0x12, 0x34, 0xfe, 0xdc])));
    expect([...data]).toEqual([0x12, 0x12, 0x12, 0xfe, 0xfe, 0xfe]);
  });

  test('turns a CMYK JPEG into colours a person would recognise', async () => {
    const rgb = Buffer.alloc(64 * 64 * 3);
    for (let i = 0; i < 64 * 64; i += 1) rgb.set(i % 64 < 32 ? [200, 30, 30] : [240, 240, 240], i * 3);
    const jpeg = await sharp(rgb, { raw: { width: 64, height: 64, channels: 3 } })
      .toColourspace('cmyk')
      .jpeg({ quality: 95 })
      .toBuffer();
    expect((await sharp(jpeg).metadata()).space).toBe('cmyk');
    const { data, width, height } = await decodeImage(jpeg);
    expect([width, height, data.length]).toEqual([64, 64, 64 * 64 * 3]);
    const [red, green, blue] = data.subarray((32 * 64 + 10) * 3, (32 * 64 + 10) * 3 + 3);
    expect(red! - green!).toBeGreaterThan(100);
    expect(red! - blue!).toBeGreaterThan(100);
    expect(Math.min(...data.subarray((32 * 64 + 50) * 3, (32 * 64 + 50) * 3 + 3))).toBeGreaterThan(215);
  });

  test('turns pictures upright as EXIF says', async () => {
    const bytes = await sharp(image.data, raw).withMetadata({ orientation: 6 }).png().toBuffer();
    const upright = await decodeImage(bytes);
    expect([upright.width, upright.height]).toEqual([32, 48]);
    // orientation 6: the stored left edge is the top; stored (x, y) lies at (height − 1 − y, x)
    const stored = (x: number, y: number) => [...image.data.subarray((y * 48 + x) * 3, (y * 48 + x) * 3 + 3)];
    const shown = (x: number, y: number) => [...upright.data.subarray((y * 32 + x) * 3, (y * 32 + x) * 3 + 3)];
    expect(shown(31, 0)).toEqual(stored(0, 0));
    expect(shown(0, 47)).toEqual(stored(47, 31));
  });

  test('leaves RGB values alone whatever colour profile they carry', async () => {
    const bytes = await sharp(image.data, raw).withIccProfile('p3').png().toBuffer();
    const stored = await sharp(bytes, { ignoreIcc: true }).raw().toBuffer();
    expect(Buffer.compare((await decodeImage(bytes)).data, stored)).toBe(0);
  });

  test('decodes a picture of 1×5000', async () => {
    const bytes = await sharp({ create: { width: 1, height: 5000, channels: 3, background: '#336699' } })
      .png()
      .toBuffer();
    const { width, height, data } = await decodeImage(bytes);
    expect([width, height, ...data.subarray(-3)]).toEqual([1, 5000, 0x33, 0x66, 0x99]);
  });
});

describe('decodeImage and bad input', () => {
  const expectCode = (input: Uint8Array | string, code: string, message: RegExp) =>
    expect(decodeImage(input)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });

  test('refuses 20 000×20 000 by its header, without decoding', async () => {
    // No pixel data at all: decoding it would fail in another way.
    await expectCode(png(20_000, 20_000, 8, 2, Buffer.alloc(0)), 'ERR_IMAGE_TOO_LARGE', /received 20000×20000/);
    await expectCode(png(16_000, 16_000, 8, 2, Buffer.alloc(0)), 'ERR_IMAGE_TOO_LARGE', /received 16000×16000/);
  });

  test('reads a JPEG that lacks only its end marker, with a warning; one that is cut short it refuses', async () => {
    const noise = Buffer.from(Array.from({ length: 96 * 64 * 3 }, (_, index) => (index * 31) % 251));
    const whole = await sharp(noise, { raw: { width: 96, height: 64, channels: 3 } })
      .jpeg()
      .toBuffer();
    expect((await decodeImage(whole)).warnings).toEqual([]);
    const mended = await decodeImage(whole.subarray(0, -2));
    expect(mended.warnings).toEqual([expect.stringContaining('end marker')]);
    expect(mended.data).toEqual((await decodeImage(whole)).data);
    for (const lacking of [5, 50, 500]) {
      await expectCode(whole.subarray(0, -lacking), 'ERR_IMAGE_INVALID', /cut short/);
    }
  });

  test('says what to do with BMP and HEIC', async () => {
    await expectCode(Buffer.from('BM6...'), 'ERR_IMAGE_INVALID', /is BMP.*ffmpeg -i/);
    const heic = Buffer.concat([Buffer.from([0, 0, 0, 24]), Buffer.from('ftypmif1....mif1heic')]);
    await expectCode(heic, 'ERR_IMAGE_INVALID', /is HEIC.*heif-convert/);
  });

  test('leaves no other decoder of libvips within reach of strangers', async () => {
    await decodeImage(
      await sharp({ create: { width: 4, height: 4, channels: 3, background: 'red' } })
        .png()
        .toBuffer(),
    );
    const ppm = Buffer.from('P6 1 1 255 abc');
    await expect(sharp(ppm).metadata()).rejects.toThrow(/unsupported image format/);
    await expectCode(ppm, 'ERR_IMAGE_INVALID', /is none/);
  });

  test('refuses 0×0', async () => {
    await expectCode(png(0, 0, 8, 2, Buffer.alloc(0)), 'ERR_IMAGE_INVALID', /is none/);
  });

  test('refuses nothing, noise and text', async () => {
    await expectCode(new Uint8Array(0), 'ERR_IMAGE_INVALID', /is empty/);
    await expectCode(new Uint8Array(1000).fill(0x55), 'ERR_IMAGE_INVALID', /is none/);
    await expectCode(Buffer.from('hello'), 'ERR_IMAGE_INVALID', /is none/);
  });

  test('refuses a corrupt and a truncated JPEG', async () => {
    const noisy = picture({ kind: 'noise', width: 256, height: 256, seed: 3 });
    const jpeg = await sharp(noisy.data, { raw: { width: 256, height: 256, channels: 3 } })
      .jpeg()
      .toBuffer();
    await expectCode(jpeg.subarray(0, jpeg.length >> 1), 'ERR_IMAGE_INVALID', /damaged or cut short/);
    const corrupt = Buffer.from(jpeg);
    corrupt.fill(0xff, 300, 2000);
    await expectCode(corrupt, 'ERR_IMAGE_INVALID', /damaged|is none/);
  });

  test('refuses a truncated PNG', async () => {
    const bytes = await sharp(image.data, raw).png().toBuffer();
    await expectCode(bytes.subarray(0, bytes.length - 30), 'ERR_IMAGE_INVALID', /damaged or cut short|is none/);
  });

  test('refuses vector graphics', async () => {
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>');
    await expectCode(svg, 'ERR_IMAGE_INVALID', /is SVG/);
  });

  test('refuses a file above the limit, a folder and a path to nothing', async () => {
    const tooLong = new Uint8Array(LIMITS.imageFileBytes + 1);
    await expectCode(tooLong, 'ERR_IMAGE_TOO_LARGE', /at most 67108864 bytes/);
    await expectCode(temporaryFolder(), 'ERR_IMAGE_INVALID', /is no file/);
    await expectCode('/nowhere.png', 'ERR_IMAGE_INVALID', /cannot be opened/);
  });

  test('rejects with the reason of an aborted signal', async () => {
    const reason = new Error('enough');
    await expect(decodeImage(Buffer.from('x'), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});
