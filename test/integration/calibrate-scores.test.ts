/** The command `calibrate-scores` on a copy of the demo model and frames of the sample clip. */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openCamera } from 'scenebus';
import { beforeAll, describe, expect, test } from 'vitest';
import type { ScoreCalibration } from '#calibration/scores/index.js';
import { runCli } from '#device/cli/program.js';
import { readManifest } from '#sdk/checkpoint/manifest.js';
import { readDetectorManifest } from '#sdk/detector/manifest.js';
import { decodeImage, encodePng, type PixelImage } from '#sdk/image/index.js';
import { captureTerminal } from '../support/captured-terminal.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';
import { clip, demoModel } from './device/demo-device.js';

const demoDetector = fileURLToPath(new URL('../../examples/demo-detector/', import.meta.url));

/** Scenes of the clip, each several times: what a picture costs is paid once. */
async function writeScenes(folder: string, count: number): Promise<void> {
  const lines = (await readFile(clip.replace(/mp4$/, 'jsonl'), 'utf8')).trimEnd().split('\n');
  const truth = lines.map((line) => JSON.parse(line) as { time: number; objects: object[] });
  await using camera = await openCamera(clip);
  const found: string[] = [];
  for await (const frame of camera.frames()) {
    const seconds = (frame.mediaTimeMs ?? 0) / 1000;
    if (seconds < found.length * 8) continue;
    const seen = truth.reduce((a, b) => (Math.abs(b.time - seconds) < Math.abs(a.time - seconds) ? b : a));
    const image = `${found.length}.png`;
    await writeFile(join(folder, image), await encodePng(asRgb(frame)));
    found.push(JSON.stringify({ image, objects: seen.objects }));
    if (found.length === 2) break;
  }
  const all = Array.from({ length: count }, (_, i) => found[i < count / 2 ? 0 : 1]!);
  await writeFile(join(folder, 'scenes.jsonl'), `${all.join('\n')}\n`);
}

function asRgb({ width, height, format, data }: PixelImage): PixelImage & { readonly format: 'rgb8' } {
  const rgb = Uint8Array.from(data);
  if (format === 'bgr8') {
    for (let i = 0; i < rgb.length; i += 3) [rgb[i], rgb[i + 2]] = [rgb[i + 2]!, rgb[i]!];
  }
  return { width, height, format: 'rgb8', data: rgb };
}

describe('calibrate-scores', () => {
  let data: string;
  let model: string;
  let detector: string;
  beforeAll(async () => {
    data = await makeTemporaryFolder('scenebus-scenes-');
    model = await makeTemporaryFolder('scenebus-scores-');
    detector = await makeTemporaryFolder('scenebus-detector-');
    await cp(demoModel, model, { recursive: true });
    await cp(demoDetector, detector, { recursive: true });
    const { scores: _, ...manifest } = JSON.parse(await readFile(join(model, 'scenebus.json'), 'utf8'));
    await writeFile(join(model, 'scenebus.json'), JSON.stringify(manifest));
    const { scores: __, ...settings } = JSON.parse(await readFile(join(detector, 'detector.json'), 'utf8'));
    await writeFile(join(detector, 'detector.json'), JSON.stringify(settings));
    await writeScenes(data, 40);
  }, 60_000);

  async function calibrate(...args: string[]) {
    const terminal = captureTerminal();
    const all = ['calibrate-scores', model, '--cache', join(data, 'cache'), '--backend', 'cpu', ...args];
    const code = await runCli(all, { terminal, environment: {} });
    return { code, out: terminal.output(), err: terminal.errors() };
  }

  test('keeps scalings in the model folder, draws what they are worth, and goes on where it was stopped', {
    timeout: 120_000,
  }, async () => {
    const [report, records] = [join(data, 'report'), join(data, 'records.jsonl')];
    const files = async () => {
      const paths = [join(model, 'scenebus.json'), join(detector, 'detector.json')];
      const [manifest, settings] = await Promise.all(paths.map((path) => readFile(path, 'utf8')));
      return { manifest: JSON.parse(manifest!), settings: JSON.parse(settings!) };
    };
    const before = await files();
    const both = ['--data', data, '--records', records, '--grounder', 'text', '--detector', detector];
    const dry = await calibrate(...both, '--dry-run');
    expect(dry).toMatchObject({
      code: 0,
      out: expect.stringMatching(/yes or no: expected calibration error 0\.\d{4} before/),
    });
    expect(dry.err).toContain('40 of 40');
    expect(await files()).toEqual(before);

    const known = await readFile(records, 'utf8');
    expect(known.trim().split('\n')).toHaveLength(2); // pictures
    const { code, out } = await calibrate(...both, '--report', report, '--json');
    expect(code).toBe(0);
    expect(await readFile(records, 'utf8')).toBe(known);
    const { scalings, report: told } = JSON.parse(out) as ScoreCalibration;
    expect(told.scenes).toBe(20);
    // All that the model says of these frames is right.
    expect(told.reliability['yes or no']!.after.expectedCalibrationError).toBeLessThan(0.1);
    const scores = { text: scalings.boxes.text, yesNo: scalings.yesNo, verified: scalings.verified };
    expect(Object.keys(scores.verified)).toEqual(['text', 'detector']);
    const scaling = scalings.boxes.detector;
    expect(scaling).toMatchObject({ temperature: expect.any(Number), bias: expect.any(Number) });
    expect(await files()).toEqual({
      manifest: { ...before.manifest, scores },
      settings: { ...before.settings, scores: scaling },
    });
    expect((await readManifest(model)).scores).toEqual(scores);
    expect((await readDetectorManifest(detector)).scores).toEqual(scaling);
    expect(JSON.parse(await readFile(join(report, 'reliability.json'), 'utf8'))).toMatchObject({
      scenes: 20,
      scalings,
    });
    for (const name of ['text', 'verified-text', 'detector', 'verified-detector', 'yes-or-no'])
      expect((await decodeImage(join(report, `reliability-${name}.png`))).width).toBe(552);

    // A detector whose scores are scaled is measured raw: pictures that were known are as they were, fresh ones too.
    const again = join(data, 'again.jsonl');
    await writeFile(again, known.split('\n')[0]!.concat('\n'));
    expect((await calibrate(...both, '--records', again)).code).toBe(0);
    expect(await readFile(again, 'utf8')).toBe(known);
  });

  test.each([
    ['records of another model', '{"key":"other","image":"0.png","searches":[]}', /Line 1 .* of another model/],
    ['records that are none', '{"key":', /Line 1 of .* is not as expected/],
  ])('refuses %s', async (_name, text, message) => {
    const records = join(await makeTemporaryFolder('scenebus-records-'), 'records.jsonl');
    await writeFile(records, `${text}\n`);
    const { code, err } = await calibrate('--data', data, '--records', records);
    expect([code, err]).toEqual([2, expect.stringMatching(message)]);
  });

  test.each([
    ['no scenes', undefined, /scenes\.jsonl .*cannot be read/],
    ['nothing in it', '\n', /there are none/],
    ['a box that is none', '{"image":"a.png","objects":[{"label":"cup","box":[0,0,2,1]}]}', /Line 1 .*\n?.*box/s],
    ['a picture elsewhere', '{"image":"../a.png","objects":[]}', /name of a file beside scenes\.jsonl/],
    ['too few scenes', '{"image":"a.png","objects":[]}', /at least 40 scenes .* received 1/],
  ])('refuses a folder with %s', async (_name, text, message) => {
    const folder = await makeTemporaryFolder('scenebus-scenes-');
    if (text !== undefined) await writeFile(join(folder, 'scenes.jsonl'), `${text}\n`);
    const { code, err } = await calibrate('--data', folder);
    expect([code, err]).toEqual([2, expect.stringMatching(message)]);
  });
});
