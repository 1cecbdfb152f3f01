/**
 * The vision tower at the sizes of the 11B model: every token against copies merged, the same session options, and copies
 * merged in int8 by own kernels, on each instruction set of the processor but `scalar`; in turn.
 * Few layers, since all of a stack are alike; random weights, since time does not depend on them; tile embeddings 0, as
 * they are published.
 *
 * Other implementations compute attention between all pairs of tokens, and a mask takes most of the padding's away again.
 * Four used tiles cost the same without a mask, which is how `all pairs` is timed here: a lower bound.
 */
import path from 'node:path';
import type { MllamaArchitecture } from '#sdk/architecture/architecture.js';
import { type VisionTokens, visionGeometry, visionTokens } from '#sdk/architecture/vision-tokens.js';
import { DisposalStack } from '#sdk/core/lifecycle.js';
import { CancelFlag } from '#sdk/engine/shared/cancel-flag.js';
import type { CpuInstructionSet } from '#sdk/engine/shared/packed-weights.js';
import { openInt8Tower } from '#sdk/engine/vision/int8-tower.js';
import { openVisionTower } from '#sdk/engine/vision/vision-tower.js';
import type { ProcessedImage } from '#sdk/image/processed-image.js';
import { engineAddon } from '#sdk/native/index.js';
import { syntheticImage } from '../support/tiny-images.js';
import { median } from './median.js';
import { randomVisionModel } from './random-model.js';
import { visionArchitecture } from './shapes.js';

export interface VisionBenchOptions {
  readonly directory: string;
  readonly threads: number;
  readonly rounds: number;
  /** Layers of the local stack; there is none of the other. */
  readonly layers: number;
  readonly numTiles: number;
}

export interface VisionResult {
  readonly contender: string;
  readonly tokens: number;
  /** Multiply-adds of the whole tower, predicted. */
  readonly work: number;
  readonly medianMs: number;
  /** Least of the rounds, all threads together: what a busy machine changes least. Use one thread: waiting ones spin. */
  readonly bestCpuMs: number;
  /** Of the features, to those of the float tower with copies merged: root of the squares, as a part of theirs. */
  readonly error: number;
}

/** Both towers. */
interface Tower extends AsyncDisposable {
  encode(image: ProcessedImage, cancel?: CancelFlag): Promise<Float32Array>;
}

/** Arrangements with 1, 2, 3 and 4 tiles. */
const ASPECT_RATIO_IDS = [1, 2, 3, 4];

export async function benchVision(options: VisionBenchOptions): Promise<readonly VisionResult[]> {
  const { threads, numTiles } = options;
  const architecture = visionArchitecture(options.layers);
  const { vision } = architecture;
  const model = await randomVisionModel(options.directory, architecture);
  const name = path.basename([...model.tensors.values()][0]!.file);
  const checkpoint = { directory: options.directory, name, model, contentHash: async () => name };
  const imageOf = (tiles: number) => {
    const arrangement = { aspectRatioId: ASPECT_RATIO_IDS[tiles - 1]!, numTiles: tiles };
    return syntheticImage(arrangement, 1, vision.tileSize, vision.maxNumTiles);
  };

  const shared = { numerics: 'meta', contextLength: 64, threads, cacheDirectory: options.directory } as const;
  await using opened = new DisposalStack();
  const int8 = async (instructionSet: CpuInstructionSet) =>
    opened.use(await openInt8Tower(checkpoint, { ...shared, instructionSet }));
  const full = opened.use(await openVisionTower(checkpoint, { ...shared, vision: 'full' }));
  const merged = opened.use(await openVisionTower(checkpoint, { ...shared, vision: 'auto' }));
  const towers: { contender: string; tower: Tower; merged: boolean; image: ProcessedImage }[] = [
    { contender: 'every token, all pairs', tower: full, merged: false, image: imageOf(vision.maxNumTiles) },
    { contender: 'every token', tower: full, merged: false, image: imageOf(numTiles) },
    { contender: MERGED, tower: merged, merged: true, image: imageOf(numTiles) },
  ];
  const sets = engineAddon()
    .cpuFeatures()
    .instructionSets.filter((set) => set !== 'scalar') as CpuInstructionSet[];
  for (const set of sets) {
    towers.push({ contender: `int8, ${set}`, tower: await int8(set), merged: true, image: imageOf(numTiles) });
  }
  const contenders = towers.map((each) => ({ ...each, ms: [] as number[], cpuMs: [] as number[], error: 0 }));
  const expected = await merged.encode(imageOf(numTiles));
  for (const each of contenders) {
    const features = await each.tower.encode(each.image); // warm
    each.error = features.length === expected.length ? relativeError(features, expected) : Number.NaN;
  }

  for (let round = 0; round < options.rounds; round += 1) {
    for (const { tower, image, ms, cpuMs } of contenders) {
      const [start, cpu] = [performance.now(), process.cpuUsage()];
      await tower.encode(image);
      const { user, system } = process.cpuUsage(cpu);
      ms.push(performance.now() - start);
      cpuMs.push((user + system) / 1000);
    }
  }
  const results = contenders.map(({ contender, merged: isMerged, image, ms, cpuMs, error }) => {
    const tokens = visionTokens(vision, { numTiles: image.numTiles, merged: isMerged, allSlots: false });
    const work = multiplyAdds(architecture, tokens);
    const [medianMs, bestCpuMs] = [median(ms), Math.min(...cpuMs)];
    return { contender, tokens: tokens.tokenPlaces.length, work, medianMs, bestCpuMs, error };
  });
  report(options, results);
  const { tower, image, ms } = contenders.at(-1)!;
  await reportAborts(tower, image, median(ms));
  return results;
}

/** The float tower that others are compared with. */
const MERGED = 'copies merged';

function relativeError(actual: Float32Array, expected: Float32Array): number {
  let [difference, size] = [0, 0];
  for (const [i, value] of expected.entries()) {
    difference += (actual[i]! - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(difference / size);
}

/** How long a picture goes on after it was aborted, at ten moments of its time. */
async function reportAborts(tower: Tower, image: ProcessedImage, wholeMs: number): Promise<void> {
  const lateMs: number[] = [];
  for (let tenth = 0; tenth < 10; tenth += 1) {
    const cancel = new CancelFlag();
    let ended = 0;
    const encoding = tower.encode(image, cancel).catch(() => {
      ended = performance.now();
    });
    await new Promise((resolve) => setTimeout(resolve, ((tenth + 0.5) / 10) * wholeMs));
    const start = performance.now();
    cancel.set();
    await encoding;
    if (ended > 0) lateMs.push(ended - start);
  }
  const most = Math.max(...lateMs);
  const part = ((100 * most) / wholeMs).toFixed(1);
  console.log(
    `  int8 aborted at ${lateMs.length} moments: ends after at most ${most.toFixed(0)} ms, ${part} % of the whole`,
  );
}

/** Attention takes two products of the pairs of tokens that see each other. */
function multiplyAdds({ vision, text }: MllamaArchitecture, tokens: VisionTokens): number {
  const { hiddenSize: d, intermediateSize, patchSize, outputDim } = vision;
  const count = tokens.tokenPlaces.length;
  const patches = tokens.slots * (visionGeometry(vision).tokensPerTile - 1);
  const linear = count * (4 * d * d + 2 * d * intermediateSize);
  const attention = 2 * d * (tokens.realTokens * count + (count - tokens.realTokens) * tokens.realTokens);
  const layers = (vision.localLayers + vision.globalLayers) * (linear + attention);
  return patches * 3 * patchSize ** 2 * d + layers + tokens.featureTokens * outputDim * text.hiddenSize;
}

function report(options: VisionBenchOptions, results: readonly VisionResult[]): void {
  const { layers, numTiles, threads } = options;
  console.log(`vision, 11B sizes, ${layers} layers, ${numTiles} of 4 tiles, ${threads} threads`);
  for (const { contender, tokens, work, medianMs, bestCpuMs, error } of results) {
    const [wall, cpu] = [medianMs, bestCpuMs].map((ms) => (ms / 1000).toFixed(2));
    const apart = Number.isNaN(error) ? 'other features' : `features differ by ${error.toExponential(1)}`;
    console.log(
      `  ${contender}: ${tokens} tokens, ${(work / 1e9).toFixed(0)} GMAC, ${wall} s, ${cpu} s of CPU, ${apart}`,
    );
  }
  const merged = results.find(({ contender }) => contender === MERGED)!;
  for (const other of results) {
    if (other === merged) continue;
    const [slow, fast] = other.contender.startsWith('int8') ? [merged, other] : [other, merged];
    const ratio = (of: 'work' | 'medianMs' | 'bestCpuMs') => (slow[of] / fast[of]).toFixed(2);
    const seen = `${ratio('medianMs')} seen, ${ratio('bestCpuMs')} of CPU time`;
    console.log(`  ${slow.contender} / ${fast.contender}: ${ratio('work')} by work, ${seen}`);
  }
}
