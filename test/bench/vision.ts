/**
 * The vision tower at the sizes of the 11B model: every token against copies merged, the same session options, in turn.
 * Few layers, since all of a stack are alike; random weights, since time does not depend on them; tile embeddings 0, as
 * they are published.
 *
 * Other implementations compute attention between all pairs of tokens, and a mask takes most of the padding's away again.
 * Four used tiles cost the same without a mask, which is how `all pairs` is timed here: a lower bound.
 */
import path from 'node:path';
import type { MllamaArchitecture } from '#sdk/architecture/architecture.js';
import { type VisionTokens, visionGeometry, visionTokens } from '#sdk/architecture/vision-tokens.js';
import { openVisionTower } from '#sdk/engine/vision/vision-tower.js';
import { maxDifference, syntheticImage } from '../support/tiny-images.js';
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

  const open = (mode: 'auto' | 'full') =>
    openVisionTower(checkpoint, {
      numerics: 'meta',
      contextLength: 64,
      threads,
      cacheDirectory: options.directory,
      vision: mode,
    });
  await using full = await open('full');
  await using merged = await open('auto');
  const contenders = [
    { contender: 'every token, all pairs', tower: full, merged: false, image: imageOf(vision.maxNumTiles) },
    { contender: 'every token', tower: full, merged: false, image: imageOf(numTiles) },
    { contender: 'copies merged', tower: merged, merged: true, image: imageOf(numTiles) },
  ].map((each) => ({ ...each, ms: [] as number[], cpuMs: [] as number[] }));
  const features: Float32Array[] = [];
  for (const { tower, image } of contenders) features.push(await tower.encode(image)); // warm
  const largest = features[1]!.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const difference = maxDifference(features[1]!, features[2]!) / largest;

  for (let round = 0; round < options.rounds; round += 1) {
    for (const { tower, image, ms, cpuMs } of contenders) {
      const [start, cpu] = [performance.now(), process.cpuUsage()];
      await tower.encode(image);
      const { user, system } = process.cpuUsage(cpu);
      ms.push(performance.now() - start);
      cpuMs.push((user + system) / 1000);
    }
  }
  const results = contenders.map(({ contender, merged: isMerged, image, ms, cpuMs }) => {
    const tokens = visionTokens(vision, { numTiles: image.numTiles, merged: isMerged, allSlots: false });
    const work = multiplyAdds(architecture, tokens);
    return { contender, tokens: tokens.tokenPlaces.length, work, medianMs: median(ms), bestCpuMs: Math.min(...cpuMs) };
  });
  report(options, results, difference);
  return results;
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

function report(options: VisionBenchOptions, results: readonly VisionResult[], difference: number): void {
  const { layers, numTiles, threads } = options;
  console.log(`vision, 11B sizes, ${layers} layers, ${numTiles} of 4 tiles, ${threads} threads`);
  for (const { contender, tokens, work, medianMs, bestCpuMs } of results) {
    const [wall, cpu] = [medianMs, bestCpuMs].map((ms) => (ms / 1000).toFixed(2));
    console.log(`  ${contender}: ${tokens} tokens, ${(work / 1e9).toFixed(0)} GMAC, ${wall} s, ${cpu} s of CPU`);
  }
  const merged = results.at(-1)!;
  for (const other of results.slice(0, -1)) {
    const ratio = (of: 'work' | 'medianMs' | 'bestCpuMs') => (other[of] / merged[of]).toFixed(2);
    const seen = `${ratio('medianMs')} seen, ${ratio('bestCpuMs')} of CPU time`;
    console.log(`  ${other.contender} / ${merged.contender}: ${ratio('work')} predicted, ${seen}`);
  }
  console.log(`  features differ by ${difference.toExponential(1)} of the largest`);
}
