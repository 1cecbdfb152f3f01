/** A copy of a checkpoint in which some heads add nothing any more: the next best must serve. */
import { cp, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { HeadId } from '#sdk/engine/engine.js';

interface TensorEntry {
  readonly dtype: string;
  readonly shape: readonly [number, number];
  readonly data_offsets: readonly [number, number];
}

/**
 * Zeroes the columns of the cross-attention's output projection that take in the heads.
 * @param source one `model.safetensors` in bfloat16
 * @param attentionHeads of a layer
 */
export async function copyWithoutHeads(
  source: string,
  copy: string,
  heads: readonly HeadId[],
  attentionHeads: number,
): Promise<void> {
  await cp(source, copy, { recursive: true });
  await using file = await open(join(copy, 'model.safetensors'), 'r+');
  const length = Buffer.alloc(8);
  await file.read(length, 0, 8, 0);
  const headerBytes = Number(length.readBigUInt64LE());
  const header = Buffer.alloc(headerBytes);
  await file.read(header, 0, headerBytes, 8);
  const tensors = JSON.parse(header.toString('utf8')) as Record<string, TensorEntry>;
  for (const layer of new Set(heads.map((head) => head.layer))) {
    const suffix = `layers.${layer}.cross_attn.o_proj.weight`;
    const [, tensor] = Object.entries(tensors).find(([name]) => name.endsWith(suffix)) ?? [];
    if (tensor?.dtype !== 'BF16') throw new Error(`Expected ${suffix} in bfloat16 in ${source} but it is not there.`);
    const [rows, columns] = tensor.shape;
    const [begin, end] = tensor.data_offsets;
    const weights = Buffer.alloc(end - begin);
    await file.read(weights, 0, weights.length, 8 + headerBytes + begin);
    const width = (columns / attentionHeads) * 2;
    for (const { head } of heads.filter((each) => each.layer === layer)) {
      for (let row = 0; row < rows; row++)
        weights.fill(0, row * columns * 2 + head * width, row * columns * 2 + (head + 1) * width);
    }
    await file.write(weights, 0, weights.length, 8 + headerBytes + begin);
  }
}
