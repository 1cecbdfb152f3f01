import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { SdkError } from '#sdk/core/errors.js';
import { addonCandidates, engineAddon, loadAddonFrom, openMappedFile, packageRoot } from '#sdk/native/index.js';
import { temporaryFolder } from '../checkpoint/checkpoint-folder.js';

describe('finding the addons', () => {
  afterEach(() => {
    delete process.env.SCENEBUS_NATIVE_DIR;
  });

  test('looks in the named folder, in the build, and for a prebuilt binary', () => {
    const root = packageRoot();
    process.env.SCENEBUS_NATIVE_DIR = '/opt/scenebus';
    expect(addonCandidates('scenebus_engine')).toEqual([
      '/opt/scenebus/scenebus_engine.node',
      join(root, 'native/build/native/scenebus_engine.node'),
      join(root, 'native/build/scenebus_engine.node'),
      join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'scenebus_engine.node'),
    ]);
  });

  test('finds the package from the compiled tree and from an installed one', () => {
    const root = temporaryFolder();
    writeFileSync(join(root, 'package.json'), '{}');
    expect(packageRoot(join(root, 'dist', 'sdk', 'native'))).toBe(root);
  });

  test('tells every attempt and the remedy when none loads', () => {
    const broken = join(temporaryFolder(), 'scenebus_engine.node');
    writeFileSync(broken, 'not a library');
    try {
      loadAddonFrom('scenebus_engine', ['/nowhere/scenebus_engine.node', broken]);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(SdkError);
      const { code, message, details } = error as SdkError;
      expect(code).toBe('ERR_NATIVE_UNAVAILABLE');
      expect(message).toContain('/nowhere/scenebus_engine.node: does not exist');
      expect(message).toContain(`${broken}: `);
      expect(message).toContain('npm run build:native');
      expect(message).toContain('npx scenebus setup');
      expect(details.attempts).toHaveLength(2);
    }
    expect(() => loadAddonFrom('scenebus_capture', [])).toThrow(/OpenCV/);
  });
});

describe('openMappedFile', () => {
  const bytes = Uint8Array.from({ length: 20_000 }, (_, i) => (i * 7) % 256);
  const path = () => {
    const file = join(temporaryFolder(), 'bytes');
    writeFileSync(file, bytes);
    return file;
  };

  test('shows a whole file and any range of it, aligned or not', () => {
    const file = path();
    using whole = openMappedFile(file);
    expect(Buffer.compare(whole.bytes, bytes)).toBe(0);
    for (const [offsetBytes, sizeBytes] of [
      [1, 17],
      [4096, 4096],
      [8191, 3],
      [19_999, 1],
      [20_000, 0],
    ] as const) {
      using range = openMappedFile(file, { offsetBytes, sizeBytes });
      expect(Buffer.compare(range.bytes, bytes.subarray(offsetBytes, offsetBytes + sizeBytes))).toBe(0);
    }
  });

  test('gives the memory back on dispose, however often', () => {
    const file = openMappedFile(path());
    expect(file.bytes.length).toBe(20_000);
    file[Symbol.dispose]();
    expect(file.bytes.length).toBe(0);
    file[Symbol.dispose]();
  });

  test('keeps writes to itself', () => {
    const file = path();
    using mapped = openMappedFile(file);
    mapped.bytes[0] = 99;
    using again = openMappedFile(file);
    expect(again.bytes[0]).toBe(0);
  });

  test('refuses ranges outside the file, and files that are none', () => {
    const file = path();
    for (const range of [
      { offsetBytes: 20_001, sizeBytes: 0 },
      { offsetBytes: 19_000, sizeBytes: 1001 },
      { offsetBytes: -1, sizeBytes: 2 },
    ]) {
      expect(() => openMappedFile(file, range)).toThrow(expect.objectContaining({ code: 'ERR_MODEL_INVALID' }));
    }
    expect(() => openMappedFile('/nowhere')).toThrow(expect.objectContaining({ code: 'ERR_MODEL_NOT_FOUND' }));
    expect(() => openMappedFile(temporaryFolder())).toThrow(/not a regular file/);
  });
});

describe('the engine addon', () => {
  test('throws instead of reading out of bounds', async () => {
    const addon = engineAddon();
    expect(() => addon.greyThumbnail(new Uint8Array(5), 2, 1, false, 1, 1)).toThrow(/Expected 6 bytes, received 5/);
    expect(() => addon.greyThumbnail(new Uint8Array(6), -2, 1, false, 1, 1)).toThrow(TypeError);
    expect(() => addon.compareThumbnails(new Uint8Array(4), new Uint8Array(3), 2, 2, 1)).toThrow(/Expected 4 bytes/);
    const options = {
      width: 1,
      height: 1,
      bgr: false,
      tileSize: 14,
      maxTiles: 1,
      aspectRatios: Int32Array.of(1, 1),
      rescaleFactor: 1,
      mean: new Float64Array(3),
      std: new Float64Array(3).fill(1),
      wantTileBytes: false,
    };
    const process = (change: object) => addon.processImage(new Uint8Array(3), { ...options, ...change });
    expect((await process({})).numTiles).toBe(1);
    for (const bad of [
      { width: 0 },
      { width: 1e9 },
      { tileSize: 0 },
      { aspectRatios: Int32Array.of(2, 1) },
      { aspectRatios: new Int32Array(0) },
      { mean: new Float64Array(2) },
      { std: [1, 1, 1] },
    ]) {
      expect(() => process(bad)).toThrow(TypeError);
    }
  });
});
