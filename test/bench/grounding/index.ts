/**
 * How well the demo model's grounders find things, and what their scores are worth: int4 weights, fresh scenes of the
 * demo model's generator. Scalings, heads and thresholds are those that ship with the model: they were made from other
 * scenes. What was found out about a scene is kept at once, so that a run that was stopped goes on.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { renderScenes } from '#calibration/evaluate/scenes.js';
import { calibrateGrounding, type HeadScore } from '#calibration/grounding/index.js';
import { quantizeCheckpoint } from '#calibration/quantize/index.js';
import { type KnownScene, type SearchRecord, searchScene } from '#calibration/scores/collect.js';
import { reliabilityDiagram } from '#calibration/scores/diagram.js';
import { RecordFile, readKnownScenes } from '#calibration/scores/known-scenes.js';
import { reportOf, type Scalings, type ScoreReport } from '#calibration/scores/scalings.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { readDetectorManifest } from '#sdk/detector/manifest.js';
import { type DetectorGrounder, loadModel, openDetector } from '#sdk/index.js';
import { detectClip, followThings, twentyMissed } from '../../support/clip-tracks.js';
import { copyWithoutHeads } from './zeroed-heads.js';

const examples = (path: string) => fileURLToPath(new URL(`../../../../examples/${path}`, import.meta.url));
const CHECKPOINT = examples('demo-model/checkpoint');
const DETECTOR = examples('demo-detector');
const GENERATOR = examples('demo-model/training/make_eval.py');
/** For heads that are to be found anew. */
const CALIBRATION_SCENES = 120;
const NO_SCALING = { temperature: 1, bias: 0 };

export interface GroundingBenchOptions {
  readonly scenes: number;
  /** Scenes for the model whose guided heads are zeroed. */
  readonly zeroedScenes: number;
  readonly seed: string;
  /** Kept here: models, pictures and, unless `resume` says otherwise, records. */
  readonly directory: string;
  /** What was found out so far. */
  readonly resume?: string | undefined;
  /** Diagrams (PNG) and `reliability.json`. */
  readonly report: string;
  readonly threads: number;
}

export interface GroundingBench {
  readonly seed: string;
  readonly report: ScoreReport;
  readonly scalings: Scalings;
  readonly zeroed: {
    readonly excluded: readonly string[];
    readonly chosen: readonly string[];
    readonly report: ScoreReport;
  };
  readonly tracks: Readonly<Record<'allFrames' | 'twentyMissed', ReturnType<typeof followThings>>> & {
    readonly frames: number;
  };
}

export async function benchGrounding(options: GroundingBenchOptions): Promise<GroundingBench> {
  const { scenes, zeroedScenes, seed, threads, report: reportFolder } = options;
  const directory = join(options.directory, 'grounding');
  await mkdir(directory, { recursive: true });
  const pictures = await rendered(directory, seed, scenes);
  const records = options.resume ?? join(directory, `records-${seed}.jsonl`);
  const common = { threads, pictures, scenes };

  await rm(join(directory, 'int4'), { recursive: true, force: true });
  const int4 = (await quantizeCheckpoint({ source: CHECKPOINT, output: join(directory, 'int4') })).directory;
  const { manifest, model: shape } = await openCheckpoint(int4);
  const attention = manifest.attention;
  if (attention === undefined) throw new Error('Expected heads that localise in the demo model, but there are none.');
  await using detector = await openDetector(DETECTOR, { decides: 'detector', scores: 'raw' });
  const searches = await collect({ ...common, model: int4, records, grounder: ['text', 'attention', detector] });
  const { scores = {} } = manifest;
  const { yesNo = NO_SCALING, verified = {}, ...own } = scores;
  const boxes = {
    text: own.text ?? NO_SCALING,
    attention: own.attention ?? NO_SCALING,
    detector: (await readDetectorManifest(DETECTOR)).scores ?? NO_SCALING,
  };
  const scalings = { boxes, yesNo, verified } as Scalings;
  const report = reportOf(searches, scalings);
  await writeReport(reportFolder, seed, report, scalings);

  const excluded = attention.heads.map(({ layer, head }) => ({ layer, head }));
  const zeroed = await withoutHeads(directory, excluded, shape.architecture.text.attentionHeads);
  const calibration = await rendered(directory, `${seed}-calibration`, CALIBRATION_SCENES);
  const { attention: next } = await calibrateGrounding({
    ...{ directory: zeroed, data: calibration, pictures: CALIBRATION_SCENES, exclude: excluded },
    model: { backend: 'cpu', threads, cacheDirectory: join(directory, 'cache') },
    onProgress: ({ done, total }) => progress('heads of the model without its guided ones', done, total ?? 0),
  });
  const left = await collect({
    ...{ ...common, model: zeroed, records: `${records}.zeroed`, grounder: ['attention'] },
    scenes: Math.min(scenes, zeroedScenes),
  });
  const seen = await detectClip(60, 10);
  return {
    ...{ seed, report, scalings },
    zeroed: {
      excluded: excluded.map(nameOf),
      chosen: next.heads.map(nameOf),
      report: reportOf(left, { boxes: {}, verified: {}, yesNo }),
    },
    tracks: {
      frames: seen.length,
      allFrames: followThings(seen, () => false),
      twentyMissed: followThings(seen, twentyMissed),
    },
  };
}

const nameOf = ({ layer, head }: Pick<HeadScore, 'layer' | 'head'>) => `${layer}:${head}`;

interface CollectOptions {
  readonly model: string;
  readonly pictures: string;
  readonly scenes: number;
  readonly records: string;
  readonly grounder: readonly ('text' | 'attention' | DetectorGrounder)[];
  readonly threads: number;
}

/** Searches of every scene, in order. */
async function collect({ model: folder, pictures, scenes, records, grounder, threads }: CollectOptions) {
  const known: readonly KnownScene[] = (await readKnownScenes(pictures)).slice(0, scenes);
  const labels = [...new Set(known.flatMap(({ objects }) => objects.map(({ label }) => label)))].sort();
  const { prompts } = (await openCheckpoint(folder)).manifest;
  const cacheDirectory = join(dirname(folder), 'cache');
  await using model = await loadModel(folder, {
    backend: 'cpu',
    threads,
    cacheDirectory,
    scores: 'raw',
    grounder,
  });
  const file = await RecordFile.open(records, await keyOf(folder, pictures, grounder));
  const searches: (readonly SearchRecord[])[] = [];
  for (const [turn, scene] of known.entries()) {
    let found = file.of(scene.image);
    if (found === undefined) {
      found = await searchScene(model, scene, labels, turn, { folder: pictures, prompts });
      await file.add(scene.image, found);
    }
    searches.push(found);
    progress(`scenes of ${records}`, turn + 1, known.length);
  }
  return searches;
}

/** Records depend on weights, on how attention is read, on the detector (not on its scaling) and on the pictures. By content: a copy is the same. */
async function keyOf(folder: string, pictures: string, grounder: CollectOptions['grounder']) {
  const { prompts, attention } = (await openCheckpoint(folder)).manifest;
  const hash = createHash('sha256').update(JSON.stringify([prompts, attention ?? null]));
  const files = [join(folder, 'config.json'), join(folder, 'model.safetensors'), join(pictures, 'scenes.jsonl')];
  for (const file of files) hash.update(await readFile(file));
  if (grounder.some((each) => typeof each !== 'string')) {
    hash.update(await readFile(join(DETECTOR, 'model.onnx')));
    const { scores: _, ...manifest } = JSON.parse(await readFile(join(DETECTOR, 'detector.json'), 'utf8'));
    hash.update(`${JSON.stringify(manifest, null, 2)}\n`);
  }
  return hash.digest('hex');
}

/** Scenes of the stream "evaluation/grounding-…": training draws from others. */
async function rendered(directory: string, seed: string, count: number): Promise<string> {
  const folder = join(directory, `scenes-${seed}-${count}`);
  if (existsSync(folder)) return folder;
  console.error(`rendering ${count} scenes`);
  const draft = `${folder}.part`;
  await rm(draft, { recursive: true, force: true });
  await renderScenes(GENERATOR, { count, seed: `grounding-${seed}`, variant: 'plain', folder: draft });
  await rename(draft, folder);
  return folder;
}

async function withoutHeads(directory: string, heads: Parameters<typeof copyWithoutHeads>[2], attentionHeads: number) {
  const [float, int4] = [join(directory, 'zeroed-float'), join(directory, 'zeroed')];
  for (const folder of [float, int4]) await rm(folder, { recursive: true, force: true });
  await copyWithoutHeads(CHECKPOINT, float, heads, attentionHeads);
  return (await quantizeCheckpoint({ source: float, output: int4 })).directory;
}

async function writeReport(folder: string, seed: string, report: ScoreReport, scalings: Scalings): Promise<void> {
  await mkdir(folder, { recursive: true });
  const { scenes, reliability } = report;
  await writeFile(
    join(folder, 'reliability.json'),
    `${JSON.stringify({ seed, scenes, scalings, reliability }, null, 2)}\n`,
  );
  for (const [name, pair] of Object.entries(reliability))
    await writeFile(join(folder, `${name.replaceAll(' ', '-')}.png`), await reliabilityDiagram(pair));
}

let lastSaidMs = 0;
function progress(what: string, done: number, total: number): void {
  const now = performance.now();
  if (now - lastSaidMs < 10_000 && done < total) return;
  lastSaidMs = now;
  console.error(`${what}: ${done} of ${total}`);
}
