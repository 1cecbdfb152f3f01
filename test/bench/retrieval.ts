/**
 * Finding scenes again: fresh scenes of the demo model's generator, described by the demo model at int4, and looked for by
 * what the generator knows of them. Words alone, words and then the model's likelihood, the model alone; and the other way,
 * which of all sentences fits a scene. What was computed of a scene is kept at once, so that a stopped run goes on.
 */
import { existsSync } from 'node:fs';
import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readScenes, renderScenes, type Scene } from '#calibration/evaluate/scenes.js';
import { quantizeCheckpoint } from '#calibration/quantize/index.js';
import { findFrames } from '#device/journal/find-frames.js';
import type { JournalStore } from '#device/journal/store.js';
import { decodeImage, encodeJpeg, loadModel, type VisionLanguageModel } from '#sdk/index.js';
import { writeDescribedFrames } from '../support/found-journal.js';

const examples = (path: string) => fileURLToPath(new URL(`../../../examples/${path}`, import.meta.url));
/** As `findFrames` has it. */
const CANDIDATES = 32;
/** Searches that are also made by the command's own function, whose order must be that of the numbers here. */
const CHECKED = 5;

interface SceneRow {
  readonly image: string;
  readonly description: string;
  /** Of every scene's sentence about this picture: logarithm of its probability. */
  readonly logProbabilities: readonly number[];
}

export interface RecallAt {
  readonly at1: number;
  readonly at5: number;
}

export interface RetrievalBench {
  readonly scenes: number;
  readonly seed: string;
  readonly words: RecallAt;
  /** Words, then the model among the first 32. */
  readonly wordsThenModel: RecallAt;
  /** The model among all. */
  readonly model: RecallAt;
  /** A picture's sentence among all; `withoutPrior`: by probability for each token alone. */
  readonly sentences: RecallAt;
  readonly sentencesWithoutPrior: RecallAt;
  readonly msPerPair: number;
}

export interface RetrievalOptions {
  readonly scenes: number;
  readonly seed: string;
  readonly directory: string;
  readonly threads: number;
}

export async function benchRetrieval({ scenes: count, seed, directory, threads }: RetrievalOptions) {
  const folder = join(directory, `retrieval-${count}-${seed.replaceAll(/\W/g, '_')}`);
  await mkdir(directory, { recursive: true });
  const scenes = await readScenes(folder).catch(async () => {
    const generator = examples('demo-model/training/make_eval.py');
    await renderScenes(generator, { count, seed, variant: 'plain', folder });
    return await readScenes(folder);
  });
  const texts = scenes.map(captionOf);
  const output = join(directory, 'retrieval-int4');
  if (!existsSync(join(output, 'config.json')))
    await quantizeCheckpoint({ source: examples('demo-model/checkpoint'), output, method: 'rtn' });
  const imageCache = { maxImages: 2 * CANDIDATES };
  await using model = await loadModel(output, { threads, cacheDirectory: join(directory, 'cache'), imageCache });
  const startedMs = performance.now();
  const { rows, computed } = await rowsOf(model, scenes, texts, folder);
  const msPerPair = (performance.now() - startedMs) / Math.max(1, computed * texts.length);
  const prior = await likelihoodsOf(model, undefined, texts);
  const tokens = prior.map(({ tokens: length }) => length);
  const score = (scene: number, text: number) =>
    (rows[scene]!.logProbabilities[text]! - prior[text]!.logProbability) / tokens[text]!;
  using store = writeDescribedFrames(':memory:', await describedFrames(rows, folder));
  const all = scenes.map((_, scene) => scene);
  const byWords = texts.map((text) => wordsOrder(store, text, scenes.length));
  const ordered = (among: readonly number[], text: number) =>
    [...among].sort((a, b) => score(b, text) - score(a, text));
  await checkAgainst(model, store, texts, (text) => ordered(byWords[text]!.slice(0, CANDIDATES), text));
  const recall = (order: (index: number) => readonly number[]) => recallOf(texts, order);
  const sentences = (of: (scene: number, text: number) => number) =>
    recall((scene) => [...all].sort((a, b) => of(scene, b) - of(scene, a)));
  const result: RetrievalBench = {
    ...{ scenes: scenes.length, seed },
    words: recall((text) => byWords[text]!),
    wordsThenModel: recall((text) => ordered(byWords[text]!.slice(0, CANDIDATES), text)),
    model: recall((text) => ordered(all, text)),
    sentences: sentences(score),
    sentencesWithoutPrior: sentences((scene, text) => rows[scene]!.logProbabilities[text]! / tokens[text]!),
    msPerPair,
  };
  return result;
}

function captionOf({ questions }: Scene): string {
  return questions.find(({ task }) => task === 'caption')!.reference;
}

async function rowsOf(model: VisionLanguageModel, scenes: readonly Scene[], texts: readonly string[], folder: string) {
  const file = join(folder, 'likelihoods.jsonl');
  const known = await readFile(file, 'utf8').catch(() => '');
  const lines = known.split('\n').slice(0, -1);
  const rows = lines.map((line) => JSON.parse(line) as SceneRow);
  const open = scenes.slice(rows.length);
  for (const { image } of open) {
    const pixels = await decodeImage(join(folder, image));
    const { text: description } = await model.describe(pixels);
    const found = await likelihoodsOf(model, pixels, texts);
    const row = { image, description, logProbabilities: found.map(({ logProbability }) => logProbability) };
    rows.push(row);
    await appendFile(file, `${JSON.stringify(row)}\n`);
    if (process.stderr.isTTY) process.stderr.write(`\r${rows.length}/${scenes.length} scenes`);
  }
  return { rows, computed: open.length };
}

/** In calls of at most 128 texts. */
async function likelihoodsOf(
  model: VisionLanguageModel,
  image: Awaited<ReturnType<typeof decodeImage>> | undefined,
  texts: readonly string[],
) {
  const found = [];
  for (let i = 0; i < texts.length; i += 128)
    found.push(...(await model.likelihood(image, texts.slice(i, i + 128))).texts);
  return found;
}

async function describedFrames(rows: readonly SceneRow[], folder: string) {
  return await Promise.all(
    rows.map(async ({ image, description }, i) => {
      const pixels = await decodeImage(join(folder, image));
      const { width, height } = pixels;
      // The generator's own file, so that the pixels are the same: a device would encode a frame of its camera.
      const jpeg = image.endsWith('.jpg') ? await readFile(join(folder, image)) : await encodeJpeg(pixels);
      return { id: String(i), description, jpeg, width, height };
    }),
  );
}

/** Of scenes, the best first; those without any of the words are not among them. */
function wordsOrder(store: JournalStore, text: string, limit: number): number[] {
  const found = store.findScenes({ text, limit });
  return found.filter(({ wordScore }) => wordScore !== null).map(({ event }) => Number(event.frame!.id));
}

/** A scene with the very same sentence is as good an answer. */
function recallOf(texts: readonly string[], order: (index: number) => readonly number[]): RecallAt {
  const ranks = texts.map((text, i) => order(i).findIndex((found) => texts[found] === text));
  const share = (most: number) => ranks.filter((rank) => rank !== -1 && rank < most).length / texts.length;
  return { at1: share(1), at5: share(5) };
}

/** The numbers are those of the product. @throws Error where an order differs */
async function checkAgainst(
  model: VisionLanguageModel,
  store: JournalStore,
  texts: readonly string[],
  expected: (text: number) => readonly number[],
): Promise<void> {
  const journal = {
    findScenes: async (search: Parameters<JournalStore['findScenes']>[0]) => store.findScenes(search),
    frame: async (id: string, { run }: { readonly run?: string | undefined } = {}) => store.frame(id, run),
  };
  for (let text = 0; text < Math.min(CHECKED, texts.length); text++) {
    const { frames, rankedBy } = await findFrames(journal, { text: texts[text]!, limit: 3 }, { model });
    const found = frames.map(({ frame }) => Number(frame.id));
    const wanted = expected(text).slice(0, 3);
    if (rankedBy !== 'likelihood' || found.join() !== wanted.join())
      throw new Error(`Expected ${wanted} for ${JSON.stringify(texts[text])}, but find gave ${found}.`);
  }
}
