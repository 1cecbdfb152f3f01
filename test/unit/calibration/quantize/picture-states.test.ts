import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { CalibrationScene } from '#calibration/quantize/calibration-samples.js';
import { encodePictures, picturesBytes, readStates } from '#calibration/quantize/picture-states.js';
import { Runtime } from '#calibration/quantize/runtime.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { openVisionTower } from '#sdk/engine/vision/vision-tower.js';
import { maxDifference, syntheticImage } from '../../../support/tiny-images.js';
import { GOLDEN, temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

const checkpoint = await openCheckpoint(join(GOLDEN, 'tiny-a'));
const { vision } = checkpoint.model.architecture;
const layers = vision.localLayers + vision.globalLayers;
const layerBytes = (4 * vision.hiddenSize ** 2 + 2 * vision.hiddenSize * vision.intermediateSize) * 4;
/** One tile and several, more pictures than pass a group of layers together. */
const images = [
  { aspectRatioId: 1, numTiles: 1 },
  { aspectRatioId: 2, numTiles: 2 },
  { aspectRatioId: 6, numTiles: 4 },
  ...Array.from({ length: 7 }, () => ({ aspectRatioId: 1, numTiles: 1 })),
].map((arrangement, index) => syntheticImage(arrangement, index, vision.tileSize, vision.maxNumTiles));
const scenes = images.map((image): CalibrationScene => ({ image: async () => image, samples: [] }));
const runtime = await Runtime.load(1);

const bytesIn = (folder: string) =>
  readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

describe('pictures encoded a few layers at a time', () => {
  test('are what the tower gives, wherever it is cut', async () => {
    const options = { numerics: 'meta', contextLength: 64, threads: 1, cacheDirectory: temporaryFolder() } as const;
    await using tower = await openVisionTower(checkpoint, options);
    const expected = [];
    for (const image of images) expected.push(await tower.encode(image));
    for (const together of [1, 2, 3, layers]) {
      const directory = temporaryFolder();
      const steps: (readonly [number, number])[] = [];
      const pictures = await encodePictures(checkpoint, scenes, runtime, {
        directory,
        weightBytes: together * layerBytes,
        onStep: (done, total) => steps.push([done, total]),
      });
      const total = images.length * Math.ceil(layers / together);
      expect(steps.at(-1)).toEqual([total, total]);
      for (const [index, { file, numTiles }] of pictures.entries()) {
        expect(numTiles).toBe(images[index]!.numTiles);
        const states = await readStates(file);
        expect(states).toHaveLength(expected[index]!.length);
        expect(maxDifference(states, expected[index]!), `${index}, ${together} layers`).toBeLessThan(1e-5);
      }
      expect(readdirSync(directory)).toHaveLength(images.length);
    }
  });

  test('go on where an earlier run ended, with equal bits, and never need more disk than was said', async () => {
    const undisturbed = await encodePictures(checkpoint, scenes, runtime, {
      directory: temporaryFolder(),
      weightBytes: layerBytes,
    });
    const directory = temporaryFolder();
    let total = 0;
    let mostBytes = 0;
    for (const stopAfter of [3, 17, 40, Number.POSITIVE_INFINITY]) {
      const controller = new AbortController();
      const seen: number[] = [];
      const run = encodePictures(checkpoint, scenes, runtime, {
        directory,
        weightBytes: layerBytes,
        signal: controller.signal,
        onStep: (done) => {
          seen.push(done);
          mostBytes = Math.max(mostBytes, bytesIn(directory));
          if (done >= stopAfter) controller.abort(new Error('enough'));
        },
      });
      if (stopAfter < Number.POSITIVE_INFINITY) await expect(run).rejects.toThrow('enough');
      else {
        for (const [index, { file }] of (await run).entries()) {
          expect(await readStates(file)).toEqual(await readStates(undisturbed[index]!.file));
        }
      }
      expect(seen[0]).toBe(total); // nothing is done twice
      total = Math.max(total, ...seen);
    }
    expect(total).toBe(images.length * layers);
    expect(mostBytes).toBeLessThanOrEqual(picturesBytes(checkpoint.model.architecture, images.length));
  });
});
