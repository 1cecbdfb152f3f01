import { z } from 'zod';
import type { VisionArchitecture } from '../architecture/architecture.js';
import type { ImageProcessorConfig } from '../core/image.js';
import { readJsonFile } from './json-file.js';

/** Pillow's code for BILINEAR; the only kernel the architecture was trained with. */
const PILLOW_BILINEAR = 2;

const triple = z.tuple([z.number(), z.number(), z.number()]);
const step = z.literal(true).default(true);

const processorSchema = z.looseObject({
  do_convert_rgb: step,
  do_resize: step,
  do_rescale: step,
  do_normalize: step,
  do_pad: step,
  resample: z.literal(PILLOW_BILINEAR).default(PILLOW_BILINEAR),
  rescale_factor: z
    .number()
    .positive()
    .default(1 / 255),
  image_mean: triple,
  image_std: z.tuple([z.number().positive(), z.number().positive(), z.number().positive()]),
  max_image_tiles: z.int().min(1).max(64),
  size: z.looseObject({ height: z.int().positive(), width: z.int().positive() }),
});

/** transformers 5 writes everything into one `processor_config.json`. */
const combinedSchema = z.looseObject({ image_processor: processorSchema.optional() });

/** `preprocessor_config.json` and what in it contradicts `config.json`. */
export async function readProcessorConfig(
  directory: string,
  vision: VisionArchitecture,
): Promise<{ processor: ImageProcessorConfig | null; problems: string[] }> {
  const file =
    (await readJsonFile(directory, 'preprocessor_config.json', processorSchema)) ??
    (await readJsonFile(directory, 'processor_config.json', combinedSchema))?.image_processor;
  if (file === undefined) {
    return {
      processor: null,
      problems: ['preprocessor_config.json is missing: copy it from the source checkpoint'],
    };
  }
  const problems: string[] = [];
  if (file.size.height !== vision.tileSize || file.size.width !== vision.tileSize) {
    problems.push(
      `preprocessor_config.json: size ${file.size.height}×${file.size.width} differs from image_size ${vision.tileSize} in config.json`,
    );
  }
  if (file.max_image_tiles !== vision.maxNumTiles) {
    problems.push(
      `preprocessor_config.json: max_image_tiles ${file.max_image_tiles} differs from max_num_tiles ${vision.maxNumTiles} in config.json`,
    );
  }
  return {
    problems,
    processor: {
      tileSize: vision.tileSize,
      maxTiles: vision.maxNumTiles,
      supportedAspectRatios: vision.supportedAspectRatios,
      rescaleFactor: file.rescale_factor,
      mean: file.image_mean,
      std: file.image_std,
    },
  };
}
