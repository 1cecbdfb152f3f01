/**
 * Scores that mean something: measures what scores of a model and of a detector are worth, and keeps in their folders how
 * they become probabilities.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import type { OnProgress } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import { openDetector } from '#sdk/detector/detector-grounder.js';
import { readDetectorManifest } from '#sdk/detector/manifest.js';
import { type LoadModelOptions, loadModel } from '#sdk/model/load-model.js';
import { type SearchRecord, searchScene } from './collect.js';
import { reliabilityDiagram } from './diagram.js';
import { RecordFile, readKnownScenes } from './known-scenes.js';
import { changeManifest } from './manifest-file.js';
import { fitScalings, reportOf, type Scalings, type ScoreReport } from './scalings.js';

export type { Reliability, ReliabilityBin } from './reliability.js';
export type { BeforeAndAfter, Localisation, Scalings, ScoreReport, SearchRates } from './scalings.js';

export interface CalibrateScoresOptions extends CallOptions {
  /** Model folder; its `scenebus.json` gets the scalings. */
  readonly directory: string;
  /** Folder with `scenes.jsonl` and the pictures. */
  readonly data: string;
  /** At most so many scenes. Default: all. */
  readonly scenes?: number | undefined;
  /** Where the reliability diagrams go (PNG) and `reliability.json`. Default: nowhere. */
  readonly reportFolder?: string | undefined;
  /** File of what was found out so far; a run that was stopped goes on there. Default: none. */
  readonly records?: string | undefined;
  /** false: nothing is written into the folders. Default true. */
  readonly keep?: boolean | undefined;
  /** Folder of a detector whose boxes are measured beside those of `model.grounder`; its `detector.json` gets its scaling. */
  readonly detector?: string | undefined;
  readonly model?:
    | Pick<LoadModelOptions, 'backend' | 'threads' | 'cacheDirectory' | 'grounder' | 'numerics'>
    | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface ScoreCalibration {
  readonly scalings: Scalings;
  /** Of every second scene, which the scalings were not fitted to. */
  readonly report: ScoreReport;
}

/** Fitted to half of them and judged by the other half. */
const LEAST_SCENES = 40;

/**
 * @throws SdkError ERR_CONFIG_INVALID for data that is none or too little; as `loadModel` and `ask`
 */
export async function calibrateScores(options: CalibrateScoresOptions): Promise<ScoreCalibration> {
  const { directory, data, reportFolder, records, keep = true, model: modelOptions = {}, onProgress, signal } = options;
  const { detector: detectorFolder } = options;
  const scenes = (await readKnownScenes(data)).slice(0, options.scenes);
  if (scenes.length < LEAST_SCENES) {
    const message = `Expected at least ${LEAST_SCENES} scenes to calibrate scores with but received ${scenes.length}; thousands are better.`;
    throw new SdkError('ERR_CONFIG_INVALID', message, { details: { scenes: scenes.length, least: LEAST_SCENES } });
  }
  const { prompts, attention } = (await openCheckpoint(directory, { signal })).manifest;
  const labels = [...new Set(scenes.flatMap(({ objects }) => objects.map(({ label }) => label)))].sort();
  await using detector =
    detectorFolder === undefined
      ? undefined
      : await openDetector(detectorFolder, { decides: 'detector', scores: 'raw', signal });
  const grounder = [modelOptions.grounder ?? 'auto', detector ?? []].flat();
  await using model = await loadModel(directory, { ...modelOptions, grounder, scores: 'raw', signal });
  const key = JSON.stringify([
    ...[model.info.name, model.info.engine.weights],
    ...[grounder.map((each) => (typeof each === 'string' ? each : each.source)), prompts, attention ?? null],
    ...(detectorFolder === undefined ? [] : [await hashOfDetector(detectorFolder)]),
  ]);
  const file = await RecordFile.open(records, key);
  const searches: (readonly SearchRecord[])[] = [];
  for (const [turn, scene] of scenes.entries()) {
    const known = file.of(scene.image);
    const found = known ?? (await searchScene(model, scene, labels, turn, { folder: data, prompts, signal }));
    if (known === undefined) await file.add(scene.image, found);
    searches.push(found);
    onProgress?.({ phase: 'scenes', done: turn + 1, total: scenes.length, unit: 'steps' });
  }
  const scalings = fitScalings(searches.filter((_, i) => i % 2 === 0));
  const report = reportOf(
    searches.filter((_, i) => i % 2 === 1),
    scalings,
  );
  if (reportFolder !== undefined) await writeReport(reportFolder, report, scalings);
  if (keep) await keepScalings(directory, detectorFolder, scalings);
  return { scalings, report };
}

/** Of what its boxes and raw scores depend on. */
async function hashOfDetector(folder: string): Promise<string> {
  const { scores: _, ...manifest } = await readDetectorManifest(folder);
  const hash = createHash('sha256').update(JSON.stringify(manifest));
  return hash.update(await readFile(join(folder, manifest.model))).digest('hex');
}

async function writeReport(folder: string, report: ScoreReport, scalings: Scalings): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'reliability.json'), `${JSON.stringify({ ...report, scalings }, null, 2)}\n`);
  for (const [name, pair] of Object.entries(report.reliability))
    await writeFile(join(folder, `reliability-${name.replaceAll(' ', '-')}.png`), await reliabilityDiagram(pair));
}

/** The detector's first: `verified` of the model is about scores that are scaled. */
async function keepScalings(
  directory: string,
  detectorFolder: string | undefined,
  { boxes, verified, yesNo }: Scalings,
): Promise<void> {
  const { detector, ...own } = boxes;
  if (detectorFolder !== undefined && detector !== undefined)
    await changeManifest(detectorFolder, 'detector.json', () => ({ scores: detector }));
  await changeManifest(directory, 'scenebus.json', ({ scores }) => {
    const before = scores as { verified?: object } | undefined;
    return { scores: { ...before, ...own, yesNo, verified: { ...before?.verified, ...verified } } };
  });
}
