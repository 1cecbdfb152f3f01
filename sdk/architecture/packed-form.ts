import type { ModelDescription } from './architecture.js';

export interface PackedForm {
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  /** Inputs that share a scale; `columns` where each output has one scale. */
  readonly groupSize: number;
}

/** How a packed linear of the text decoder lies in its file. @param name without `.weight` */
export function packedForm({ architecture, tensors }: ModelDescription, name: string): PackedForm {
  const { hiddenSize, intermediateSize } = architecture.text;
  const columns = name.endsWith('down_proj') ? intermediateSize : hiddenSize;
  const [rows, words] = tensors.get(`${name}.weight_packed`)!.shape as readonly [number, number];
  const groups = tensors.get(`${name}.weight_scale`)!.shape[1]!;
  const bits = (words * 32) / columns;
  if (bits !== 4 && bits !== 8) throw new TypeError(`expected ${name} packed at 4 or 8 bits, got ${bits} bits`);
  return { rows, columns, bits, groupSize: columns / groups };
}
