/**
 * Puts a checkpoint's tensors into graphs without copying them: an initialiser points at the bytes in the
 * safetensors file. 16-bit weights are cast to float32, which the runtime does once, at load.
 */
import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import type { ModelDescription, TensorDtype, TensorLocation } from '../architecture/architecture.js';
import { packedForm } from '../architecture/packed-form.js';
import { type GraphBuilder, MICROSOFT, type Value } from './builder.js';
import { ELEMENT_TYPES, type ElementType } from './onnx.js';

const FLOAT_TYPES: Partial<Record<TensorDtype, ElementType>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/** Blocks of MatMulNBits, largest first. */
const BLOCKS = [128, 64, 32] as const;

/** 4: int8 activations, fastest. 1: float32 activations, for reference values. */
export type AccuracyLevel = 1 | 4;

/**
 * The folder that all weight files lie under, links resolved. ONNX Runtime refuses data outside the folder it is told
 * and files whose links lead out of it (a Hugging Face cache is full of such links), so locations are relative to this.
 */
export function weightsRoot(model: Pick<ModelDescription, 'tensors'>, ...otherFiles: readonly string[]): string {
  const files = new Set([...[...model.tensors.values()].map((tensor) => tensor.file), ...otherFiles]);
  const folders = new Set([...files].map((file) => path.dirname(resolveLinks(file))));
  const [first, ...rest] = [...folders].map((folder) => folder.split(path.sep));
  if (first === undefined) throw new RangeError('expected a model with tensors, got none');
  let shared = first;
  for (const parts of rest) {
    const differs = shared.findIndex((part, index) => part !== parts[index]);
    if (differs !== -1) shared = shared.slice(0, differs);
  }
  return shared.join(path.sep) || path.sep;
}

/** Bytes of weight files as graphs name them. */
export class ExternalFiles {
  readonly #root: string;
  readonly #realPaths = new Map<string, string>();

  /** @param root See `weightsRoot`. */
  constructor(root: string) {
    this.#root = root;
  }

  locate(tensor: Pick<TensorLocation, 'file' | 'offsetBytes' | 'sizeBytes'>) {
    const real = this.#realPaths.get(tensor.file) ?? resolveLinks(tensor.file);
    this.#realPaths.set(tensor.file, real);
    const location = path.relative(this.#root, real);
    return { kind: 'external', location, offsetBytes: tensor.offsetBytes, sizeBytes: tensor.sizeBytes } as const;
  }
}

/** The file may be one that is still to be written. */
function resolveLinks(file: string): string {
  return existsSync(file) ? realpathSync(file) : path.join(realpathSync(path.dirname(file)), path.basename(file));
}

export class Weights {
  readonly #model: ModelDescription;
  readonly #files: ExternalFiles;
  readonly #accuracyLevel: AccuracyLevel;
  readonly #onLinear: ((name: string, x: Value) => void) | undefined;

  /** @param onLinear Told of every product with the name of its weight, for graphs that show what goes into them. */
  constructor(
    model: ModelDescription,
    root: string,
    accuracyLevel: AccuracyLevel,
    onLinear?: (name: string, x: Value) => void,
  ) {
    this.#onLinear = onLinear;
    this.#model = model;
    this.#files = new ExternalFiles(root);
    this.#accuracyLevel = accuracyLevel;
  }

  /** A float tensor as it is stored; `shape` when the graph wants another view of the same bytes. */
  stored(b: GraphBuilder, name: string, shape?: readonly number[]): Value {
    const tensor = this.#tensor(name);
    const type = FLOAT_TYPES[tensor.dtype];
    if (type === undefined) throw new TypeError(`expected ${name} as F32, F16 or BF16, got ${tensor.dtype}`);
    return b.initializer(name, type, shape ?? tensor.shape, this.#files.locate(tensor));
  }

  /** A float tensor as float32. */
  float(b: GraphBuilder, name: string, shape?: readonly number[]): Value {
    return this.#toFloat(b, name, this.stored(b, name, shape));
  }

  /** One row of a table `[rows, columns]` as float32 `[1, columns]`; only that row is read and cast. */
  row(b: GraphBuilder, name: string, index: Value): Value {
    return this.#toFloat(b, name, b.gather(this.stored(b, name), index));
  }

  /** tanh of a gate `[1]`, folded by the runtime at load. */
  gate(b: GraphBuilder, name: string): Value {
    return b.node('Tanh', [this.float(b, name)]);
  }

  /** `x [tokens, in]` times the weight `[out, in]` of `name`, plus its bias if there is one: `[tokens, out]`. */
  linear(b: GraphBuilder, x: Value, name: string, bias = false): Value {
    this.#onLinear?.(name, x);
    if (this.#model.tensors.has(`${name}.weight_packed`)) return this.#linearNBits(b, x, name);
    const inputs = [x, this.float(b, `${name}.weight`)];
    if (bias) inputs.push(this.float(b, `${name}.bias`));
    return b.node('Gemm', inputs, { attributes: { transB: 1 } });
  }

  /**
   * The packed bytes of compressed-tensors, value + 8 (128 at 8 bits) with the lowest bits first, are those of
   * MatMulNBits: int32 `[N, K·bits/32]` on disk is uint8 `[N, K/block, block·bits/8]` here.
   */
  #linearNBits(b: GraphBuilder, x: Value, name: string): Value {
    const { rows, columns, bits, groupSize } = packedForm(this.#model, name);
    // One scale for a whole row, of any length, is repeated for blocks that the operator takes.
    const block = groupSize < columns ? groupSize : (BLOCKS.find((size) => columns % size === 0) ?? columns);
    const blocks = columns / block;
    const packed = this.#files.locate(this.#tensor(`${name}.weight_packed`));
    const weight = b.initializer(`${name}.weight_packed`, 'uint8', [rows, blocks, (block * bits) / 8], packed);
    let scale = this.float(b, `${name}.weight_scale`);
    if (columns / groupSize !== blocks) scale = b.node('Expand', [scale, b.ints([rows, blocks])]);
    return b.node('MatMulNBits', [x, weight, scale], {
      domain: MICROSOFT,
      attributes: { K: columns, N: rows, bits, block_size: block, accuracy_level: this.#accuracyLevel },
    });
  }

  #toFloat(b: GraphBuilder, name: string, value: Value): Value {
    if (this.#tensor(name).dtype === 'F32') return value;
    return b.node('Cast', [value], { attributes: { to: ELEMENT_TYPES.float32 } });
  }

  #tensor(name: string): TensorLocation {
    const tensor = this.#model.tensors.get(name);
    if (tensor === undefined) throw new RangeError(`expected tensor ${name} in the checkpoint, it is missing`);
    return tensor;
  }
}
