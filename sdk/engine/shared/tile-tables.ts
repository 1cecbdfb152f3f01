/**
 * Whether unused tile slots are copies of each other: the tile embeddings of a checkpoint, before and behind the
 * layers and in the gated position table, say
 * it, for each arrangement of tiles. The published ones are zero there; others need not be.
 */
import type { ModelDescription, TensorLocation, VisionArchitecture } from '../../architecture/architecture.js';
import { readTensorF32 } from '../../checkpoint/read-tensor.js';
import { openMappedFile } from '../../native/mapped-file.js';
import type { OpenEngineOptions } from '../options.js';
import { visionChoice } from './vision-options.js';

/** `[ids, slots × …]` each. */
const TABLES = [
  'vision_model.pre_tile_positional_embedding.embedding.weight',
  'vision_model.gated_positional_embedding.tile_embedding.weight',
  'vision_model.post_tile_positional_embedding.embedding.weight',
];

/**
 * By aspect ratio id: the fewest used tiles whose unused slots all have equal embeddings. Reads, from the mapped file,
 * only the embeddings of slots that an arrangement leaves unused: 29 MB of the 11B model, less than its first image
 * takes by far.
 *
 * @returns empty for `full`
 * @throws SdkError ERR_ARGUMENT_INVALID for another value of the option
 */
export function mergeableFrom(model: ModelDescription, vision?: OpenEngineOptions['vision']): readonly number[] {
  if (visionChoice(vision).tokens === 'full') return [];
  const { maxNumTiles, supportedAspectRatios } = model.architecture.vision;
  const tables = TABLES.map((name) => model.tensors.get(name)).filter((table) => table !== undefined);
  // Id 0 says that there is no image: nothing is left out for it.
  return [
    maxNumTiles,
    ...supportedAspectRatios.map(([high, wide], index) => {
      const used = Math.min(high * wide, maxNumTiles);
      const starts = tables.map((table) => equalFrom(table, index + 1, used, maxNumTiles));
      return Math.max(used, ...starts);
    }),
  ];
}

/** Whether the unused slots of every image are merged, given what `mergeableFrom` says. */
export function mergesEveryImage(
  { supportedAspectRatios, maxNumTiles }: Pick<VisionArchitecture, 'supportedAspectRatios' | 'maxNumTiles'>,
  from: readonly number[],
): boolean {
  return supportedAspectRatios.every(([high, wide], index) => {
    const start = from[index + 1];
    return start !== undefined && start <= Math.min(high * wide, maxNumTiles);
  });
}

/** The first slot, not before `first`, from which on all slots of a table's row are equal. */
function equalFrom(table: TensorLocation, row: number, first: number, slots: number): number {
  const slotBytes = table.sizeBytes / (table.shape[0]! * slots);
  const start = table.offsetBytes + row * slots * slotBytes;
  const last = locate(table, start + (slots - 1) * slotBytes, slotBytes);
  for (let slot = slots - 2; slot >= first; slot--) {
    if (!areEqual(last, locate(table, start + slot * slotBytes, slotBytes))) return slot + 1;
  }
  return Math.min(first, slots);
}

function locate({ file, dtype }: TensorLocation, offsetBytes: number, sizeBytes: number): TensorLocation {
  return { file, dtype, offsetBytes, sizeBytes, shape: [1] };
}

function areEqual(a: TensorLocation, b: TensorLocation): boolean {
  {
    using left = openMappedFile(a.file, a);
    using right = openMappedFile(b.file, b);
    if (Buffer.compare(left.bytes, right.bytes) === 0) return true;
  }
  // Zeros of both signs are the same number.
  const other = readTensorF32(b);
  return readTensorF32(a).every((value, i) => value === other[i]);
}
