/** The 11B model as a description without weights: sizes and names only, int4 in groups of 128. */
import type { ModelDescription, TensorDtype, TensorLocation } from '#sdk/architecture/architecture.js';
import { architectureOf, configSchema } from '#sdk/checkpoint/config.js';
import { expectedTensors } from '#sdk/checkpoint/expected-tensors.js';

const GROUP = 128;
const BYTES: Partial<Record<TensorDtype, number>> = { BF16: 2, I32: 4, I64: 8 };

export function publishedShape(): ModelDescription {
  // What a configuration leaves out has the published size; tiles of 560 are those of the instruct models.
  const { architecture } = architectureOf(
    configSchema.parse({ model_type: 'mllama', vision_config: { image_size: 560 } }),
  );
  const tensors = new Map<string, TensorLocation>();
  const add = (name: string, dtype: TensorDtype, shape: readonly number[]) => {
    const sizeBytes = shape.reduce((product, side) => product * side, BYTES[dtype]!);
    tensors.set(name, { file: '/nowhere/model.safetensors', offsetBytes: 0, sizeBytes, dtype, shape });
  };
  for (const { name, shape, quantizable } of expectedTensors(architecture)) {
    if (!quantizable || name.includes('lm_head')) {
      add(name, 'BF16', shape);
      continue;
    }
    const [rows, columns] = shape as [number, number];
    add(`${name}_packed`, 'I32', [rows, columns / 8]);
    add(`${name}_scale`, 'BF16', [rows, columns / GROUP]);
    add(`${name}_shape`, 'I64', [2]);
  }
  return { architecture, tensors, int4: { bits: 4, groupSize: GROUP } };
}
