/** The image processor alone (`processor_*.json`), and the rotary frequencies (`rope.json`). */
import path from 'node:path';
import { inverseFrequencies } from '#sdk/graph/index.js';
import { createImageProcessor } from '#sdk/image/index.js';
import { floats, processorFileSchema, readGoldenJson, readGoldenTensors, ropeFileSchema } from './golden-folder.js';
import { CheckBuilder, type VerifyCheck } from './report.js';
import { loadGoldenImage } from './test-images.js';

/** The reference computes in float32, step by step; ours is rounded once. Four units in the last place are allowed. */
const ROPE_RELATIVE_TOLERANCE = 2 ** -21;

export async function checkProcessor(base: string, tolerance: number): Promise<VerifyCheck[]> {
  const file = (await readGoldenJson(`${base}.json`, processorFileSchema))!;
  const tensors = await readGoldenTensors(`${base}.safetensors`);
  const processor = createImageProcessor({
    tileSize: file.tile_size,
    maxTiles: file.max_image_tiles,
    supportedAspectRatios: file.supported_aspect_ratios_h_w,
    rescaleFactor: file.rescale_factor,
    mean: file.image_mean,
    std: file.image_std,
  });
  const checks: VerifyCheck[] = [];
  for (const [name, golden] of Object.entries(file.cases)) {
    const check = new CheckBuilder(`processor ${name}`, null, tolerance);
    const image = await loadGoldenImage(golden, path.dirname(base));
    if (image === undefined) {
      check.fail(`no picture: neither a PNG nor a known formula (${golden.kind})`);
    } else {
      const { pixelValues, aspectRatioId, numTiles, geometry } = await processor.process(image);
      check.equal('aspect_ratio_id, num_tiles', [aspectRatioId, numTiles], [golden.aspect_ratio_id, golden.num_tiles]);
      const sizes = [
        ['resized_h_w', [geometry.resizedHeight, geometry.resizedWidth]],
        ['canvas_h_w', [geometry.canvasHeight, geometry.canvasWidth]],
      ] as const;
      for (const [key, actual] of sizes) if (golden[key] !== undefined) check.equal(key, actual, golden[key]);
      const tiles = floats(tensors, `${name}.tiles`);
      if (tiles !== undefined) {
        const whole = new Float32Array(pixelValues.length); // slots past the tiles hold 0
        whole.set(tiles);
        check.compare('tiles', pixelValues, whole);
      }
    }
    checks.push(check.finish());
  }
  return checks;
}

export async function checkRope(file: string): Promise<VerifyCheck[]> {
  const golden = (await readGoldenJson(file, ropeFileSchema)) ?? {};
  return Object.entries(golden).map(([name, entry]) => {
    const scaling = entry.rope_scaling;
    const ropeScaling = {
      factor: scaling.factor,
      lowFreqFactor: scaling.low_freq_factor,
      highFreqFactor: scaling.high_freq_factor,
      originalMaxPositionEmbeddings: scaling.original_max_position_embeddings,
    };
    const rope = { headDim: entry.head_dim, ropeTheta: entry.rope_theta };
    const check = new CheckBuilder(`rope ${name}`, null, ROPE_RELATIVE_TOLERANCE);
    const relative = (actual: Float32Array, expected: readonly number[]) =>
      actual.map((value, i) => value / expected[i]!);
    const compare = (key: string, actual: Float32Array, expected: readonly number[]) =>
      check.compare(`${key} (relative)`, relative(actual, expected), new Float32Array(expected.length).fill(1));
    compare('inv_freq', inverseFrequencies({ ...rope, ropeScaling }), entry.inv_freq);
    const unscaled = entry.inv_freq_without_scaling;
    if (unscaled !== undefined) {
      compare('inv_freq_without_scaling', inverseFrequencies({ ...rope, ropeScaling: null }), unscaled);
    }
    return check.finish();
  });
}
