/** The published 11B model as the graph writers see it: sizes and places of tensors, no bytes. */
import type { ModelDescription, TensorLocation } from '#sdk/architecture/architecture.js';
import { architectureOf, configSchema } from '#sdk/checkpoint/config.js';
import { expectedTensors } from '#sdk/checkpoint/expected-tensors.js';

/** Text linears packed at 4 bits in groups of 128, everything else in bfloat16. `file` need not exist. */
export function publishedModel(file: string): ModelDescription {
  const config = configSchema.parse({ model_type: 'mllama', vision_config: { image_size: 560 } });
  const { architecture } = architectureOf(config);
  const tensors = new Map<string, TensorLocation>();
  let offsetBytes = 0;
  const place = (name: string, dtype: 'BF16' | 'I32', shape: readonly number[]) => {
    const sizeBytes = shape.reduce((product, side) => product * side, dtype === 'I32' ? 4 : 2);
    tensors.set(name, { file, offsetBytes, sizeBytes, dtype, shape });
    offsetBytes += sizeBytes;
  };
  for (const { name, shape, quantizable } of expectedTensors(architecture)) {
    if (!quantizable || name.includes('lm_head')) {
      place(name, 'BF16', shape);
      continue;
    }
    const [rows, columns] = shape as [number, number];
    place(`${name}_packed`, 'I32', [rows, columns / 8]);
    place(`${name}_scale`, 'BF16', [rows, columns / 128]);
  }
  return { architecture, tensors, int4: { bits: 4, groupSize: 128 } };
}
