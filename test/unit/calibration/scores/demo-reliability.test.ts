/** The report of the demo model's grounders is of the scalings that ship, and says what the documentation says. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { ScoreReport } from '#calibration/scores/index.js';
import { readManifest } from '#sdk/checkpoint/manifest.js';
import { readDetectorManifest } from '#sdk/detector/manifest.js';
import { decodeImage } from '#sdk/image/index.js';

const examples = (path: string) => fileURLToPath(new URL(`../../../../examples/${path}`, import.meta.url));
const folder = examples('demo-model/reliability');
const NAMES = [
  'text',
  'verified text',
  'attention',
  'verified attention',
  'detector',
  'verified detector',
  'yes or no',
];

test('scores of every grounder and of yes and no are within 0.05 of probabilities, by the scalings that ship', async () => {
  const report = JSON.parse(await readFile(join(folder, 'reliability.json'), 'utf8'));
  expect(report.scenes).toBe(2000);
  const { scores = {} } = await readManifest(examples('demo-model/checkpoint'));
  const { yesNo, verified, ...own } = scores;
  const { scores: detector } = await readDetectorManifest(examples('demo-detector'));
  expect(report.scalings).toEqual({ boxes: { ...own, detector }, yesNo, verified });

  const reliability: ScoreReport['reliability'] = report.reliability;
  expect(Object.keys(reliability)).toEqual(NAMES);
  for (const [name, { before, after }] of Object.entries(reliability)) {
    expect(after.expectedCalibrationError, name).toBeLessThanOrEqual(0.05);
    expect(after.expectedCalibrationError, name).toBeLessThan(before.expectedCalibrationError);
    const picture = await decodeImage(join(folder, `${name.replaceAll(' ', '-')}.png`));
    expect([picture.width, picture.height]).toEqual([552, 360]);
  }
});
