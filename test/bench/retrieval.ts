/**
 * Finding scenes again: fresh scenes of the demo model's generator, described by the demo model at int4, and looked for by
 * what the generator knows of them. Words alone, words and then the model's likelihood, the model alone; and the other way,
 * which of all sentences fits a scene. What was computed of a scene is kept at once, so that a stopped run goes on.
 */
import { existsSync } from 'node:fs';
import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
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
  /** By what the generator says of the whole scene. */
  readonly byCaption: Recalls;
  /** By two of its things ("A red cup and a blue book."), of scenes that have several. Any scene with both is right. */
  readonly byTwoThings: Recalls & { readonly texts: number };
  /** A picture's caption among all; `withoutPrior`: by probability for each token alone. */
  readonly captions: RecallAt;
  readonly captionsWithoutPrior: RecallAt;
  /** null: all of it was known from an earlier run. */
  readonly msPerPair: number | null;
}

export interface Recalls {
  readonly words: RecallAt;
  /** Words, then the model among the first 32. */
  readonly wordsThenModel: RecallAt;
  /** The model among all. */
  readonly model: RecallAt;
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
  const output = join(directory, 'retrieval-int4');
  if (!existsSync(join(output, 'config.json')))
    await quantizeCheckpoint({ source: examples('demo-model/checkpoint'), output, method: 'rtn' });
  const imageCache = { maxImages: 2 * CANDIDATES };
  await using model = await loadModel(output, { threads, cacheDirectory: join(directory, 'cache'), imageCache });
  const captions = scenes.map(captionOf);
  const startedMs = performance.now();
  const caption = await scoresOf(model, scenes, captions, join(folder, 'likelihoods.jsonl'));
  const msPerPair =
    caption.computed === 0 ? null : (performance.now() - startedMs) / (caption.computed * captions.length);
  using store = writeDescribedFrames(':memory:', await describedFrames(caption.rows, folder));
  const pairs = scenes.flatMap(pairOf);
  const two = await scoresOf(
    model,
    scenes,
    pairs.map(({ text }) => text),
    join(folder, 'two-things.jsonl'),
  );
  const all = scenes.map((_, scene) => scene);
  const sameCaption = (text: number, scene: number) => captions[scene] === captions[text];
  const hasBoth = (text: number, scene: number) =>
    pairs[text]!.labels.every((label) => scenes[scene]!.objects.some((object) => object.label === label));
  const order = (text: number) => caption.ordered(wordsOrder(store, captions[text]!, CANDIDATES), text);
  await checkAgainst(model, store, captions, order);
  const bestCaptions = (of: (scene: number, text: number) => number) =>
    recallOf(captions.length, (scene) => [...all].sort((x, y) => of(scene, y) - of(scene, x)), sameCaption);
  const result: RetrievalBench = {
    ...{ scenes: scenes.length, seed },
    byCaption: recallsOf(store, captions, caption, sameCaption),
    byTwoThings: {
      texts: pairs.length,
      ...recallsOf(
        store,
        pairs.map(({ text }) => text),
        two,
        hasBoth,
      ),
    },
    captions: bestCaptions(caption.score),
    captionsWithoutPrior: bestCaptions(
      (scene, text) => caption.rows[scene]!.logProbabilities[text]! / caption.tokens[text]!,
    ),
    msPerPair,
  };
  return result;
}

function recallsOf(
  store: JournalStore,
  texts: readonly string[],
  { rows, ordered }: Awaited<ReturnType<typeof scoresOf>>,
  isRight: (text: number, scene: number) => boolean,
): Recalls {
  const byWords = texts.map((text) => wordsOrder(store, text, rows.length));
  const recall = (of: (text: number) => readonly number[]) => recallOf(texts.length, of, isRight);
  return {
    words: recall((text) => byWords[text]!),
    wordsThenModel: recall((text) => ordered(byWords[text]!.slice(0, CANDIDATES), text)),
    model: recall((text) => ordered([...rows.keys()], text)),
  };
}

/** What each text scores with each picture, as `rankImages` has it. */
async function scoresOf(model: VisionLanguageModel, scenes: readonly Scene[], texts: readonly string[], file: string) {
  const { rows, computed } = await rowsOf(model, scenes, texts, file);
  const prior = await likelihoodsOf(model, undefined, texts);
  const tokens = prior.map(({ tokens: length }) => length);
  const score = (scene: number, text: number) =>
    (rows[scene]!.logProbabilities[text]! - prior[text]!.logProbability) / tokens[text]!;
  const ordered = (among: readonly number[], text: number) =>
    [...among].sort((a, b) => score(b, text) - score(a, text));
  return { rows, computed, tokens, score, ordered };
}

/** The two largest things; none of a scene with fewer. */
function pairOf({ objects }: Scene): { readonly text: string; readonly labels: readonly string[] }[] {
  const area = ({ box: [x1, y1, x2, y2] }: Scene['objects'][number]) => (x2 - x1) * (y2 - y1);
  const labels = [...objects]
    .sort((a, b) => area(b) - area(a))
    .slice(0, 2)
    .map(({ label }) => label);
  const an = (label: string) => (/^[aeiou]/.test(label) ? `an ${label}` : `a ${label}`);
  if (labels.length < 2) return [];
  const [first, second] = labels.map(an) as [string, string];
  return [{ text: `${first.charAt(0).toUpperCase()}${first.slice(1)} and ${second}.`, labels }];
}

function captionOf({ questions }: Scene): string {
  return questions.find(({ task }) => task === 'caption')!.reference;
}

async function rowsOf(model: VisionLanguageModel, scenes: readonly Scene[], texts: readonly string[], file: string) {
  const known = await readFile(file, 'utf8').catch(() => '');
  const lines = known.split('\n').slice(0, -1);
  const rows = lines.map((line) => JSON.parse(line) as SceneRow);
  const open = scenes.slice(rows.length);
  for (const { image } of open) {
    const pixels = await decodeImage(join(dirname(file), image));
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

/** @param isRight whether a scene is what the text looks for (the other way round: a text what the scene looks for) */
function recallOf(
  count: number,
  order: (index: number) => readonly number[],
  isRight: (index: number, found: number) => boolean,
): RecallAt {
  const ranks = Array.from({ length: count }, (_, i) => order(i).findIndex((found) => isRight(i, found)));
  const share = (most: number) => ranks.filter((rank) => rank !== -1 && rank < most).length / count;
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
