/** The vision tower (`vision.safetensors`): one image per arrangement, with the tensors inside the tower. */
import path from 'node:path';
import type { Checkpoint } from '#sdk/checkpoint/index.js';
import { createImageProcessor } from '#sdk/image/index.js';
import {
  floats,
  type GoldenFolder,
  integers,
  readGoldenJson,
  readGoldenTensors,
  required,
  visionFileSchema,
} from './golden-folder.js';
import type { ReferenceEngine } from './reference-engine.js';
import { CheckBuilder, type VerifyCheck } from './report.js';
import { loadGoldenImage } from './test-images.js';

const INPUTS = new Set(['pixel_values', 'aspect_ratio_ids', 'aspect_ratio_mask']);

export interface VisionChecks {
  readonly checks: VerifyCheck[];
  readonly notCompared: string[];
}

export async function checkVision(
  folder: GoldenFolder,
  checkpoint: Checkpoint,
  reference: ReferenceEngine,
  tolerance: number,
  signal: AbortSignal | undefined,
): Promise<VisionChecks> {
  const source = path.join(folder.directory, 'vision.safetensors');
  const tensors = await readGoldenTensors(source);
  const file = await readGoldenJson(path.join(folder.directory, 'vision.json'), visionFileSchema);
  const processor = createImageProcessor(checkpoint.processor);
  const result: VisionChecks = { checks: [], notCompared: [] };
  const names = [...tensors.keys()].filter((key) => key.endsWith('.pixel_values')).map((key) => key.split('.')[0]!);
  for (const name of names.sort()) {
    const check = new CheckBuilder(`vision ${name}`, null, tolerance);
    const pixelValues = floats(tensors, `${name}.pixel_values`)!;
    for (const input of INPUTS) required(tensors, `${name}.${input}`, source);
    const aspectRatioId = integers(tensors, `${name}.aspect_ratio_ids`)![0]!;
    const numTiles = integers(tensors, `${name}.aspect_ratio_mask`)!.reduce((sum, used) => sum + used, 0);

    const golden = file?.cases[name]?.image;
    const image = golden === undefined ? undefined : await loadGoldenImage(golden, folder.directory);
    if (image !== undefined) {
      const processed = await processor.process(image);
      check.equal(
        'aspect_ratio_id, num_tiles',
        [processed.aspectRatioId, processed.numTiles],
        [aspectRatioId, numTiles],
      );
      check.compare('pixel_values', processed.pixelValues, pixelValues);
    }

    reference.takeTensors();
    using _state = await reference.encode({ pixelValues, aspectRatioId, numTiles }, signal);
    const computed = reference.takeTensors();
    for (const [key, { data }] of tensors) {
      const tensor = key.slice(name.length + 1);
      if (!key.startsWith(`${name}.`) || INPUTS.has(tensor)) continue;
      const actual = computed.get(tensor);
      if (actual === undefined) result.notCompared.push(`vision ${key}: this backend does not expose it`);
      else check.compare(tensor, actual, data);
    }
    result.checks.push(check.finish());
  }
  return result;
}
