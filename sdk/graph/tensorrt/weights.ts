/**
 * Where each weight of the lowering lies: in the checkpoint where its bytes are right as they are, else in one of two
 * files that are made from it (`writeLoweredWeights`). Which bytes stand where follows from the checkpoint's tensors
 * and the options alone, so graphs can be written before those files.
 *
 * - *converted*: scales in the decoder's type, `[N, K/group]` as on disk; 8-bit weights and an lm_head of another type
 *   as plain numbers `[N, K]`. Small, needed always.
 * - *transposed*: int4 `[K, N]` and scales `[K/group, N]`, as `DequantizeLinear` needs them. As large as the packed
 *   weights, needed only where no plugin takes them as they lie.
 */
import type { ModelDescription, TensorDtype, TensorLocation } from '../../architecture/architecture.js';
import { packedForm } from '../../architecture/packed-form.js';
import type { ElementType } from '../onnx.js';
import type { LoweredType, LoweringOptions } from './options.js';

export interface LoweredWeight {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly file: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** How a weight of a made file comes about. */
export type WeightRecipe =
  /** int4 `[N, K/8]` words to `[K, N]` nibbles; groups of scale 0 become zeros. */
  | { readonly kind: 'transposed'; readonly packed: TensorLocation; readonly scale: TensorLocation }
  /** `[N, G]` to `[G·repeat, N]`; a scale of 0 becomes 1, its weights being 0 then. */
  | {
      readonly kind: 'transposed scale';
      readonly scale: TensorLocation;
      readonly repeat: number;
      readonly type: LoweredType;
    }
  /** Each value `repeat` times. */
  | { readonly kind: 'cast'; readonly source: TensorLocation; readonly repeat: number; readonly type: LoweredType }
  /** 8-bit words `[N, K/4]` times their scales. */
  | {
      readonly kind: 'dequantized';
      readonly packed: TensorLocation;
      readonly scale: TensorLocation;
      readonly type: LoweredType;
    };

export interface MadeWeight extends LoweredWeight {
  readonly recipe: WeightRecipe;
}

export interface WeightsFile {
  readonly file: string;
  readonly sizeBytes: number;
  readonly weights: readonly MadeWeight[];
}

const DTYPES: Readonly<Record<LoweredType, TensorDtype>> = { float16: 'F16', bfloat16: 'BF16', float32: 'F32' };
const TYPES: Partial<Record<TensorDtype, ElementType>> = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  I32: 'int32',
};
const TYPE_BYTES = { float16: 2, bfloat16: 2, float32: 4 } as const;
/** Copies to the device like it, and so do mapped pages. */
const ALIGNMENT = 256;
export const LM_HEAD = 'language_model.lm_head';

export interface PackedSizes {
  readonly bits: 4 | 8;
  readonly N: number;
  readonly K: number;
  /** Inputs that share a scale. */
  readonly group: number;
  /** Groups that share a scale of the checkpoint: one scale for a whole row is repeated for groups of usual size. */
  readonly repeat: number;
}

/** Largest first. */
const GROUPS = [128, 64, 32] as const;

export class LoweredWeights {
  readonly converted: WeightsFile;
  readonly transposed: WeightsFile;
  readonly #model: ModelDescription;
  readonly #made = new Map<string, MadeWeight>();

  constructor(model: ModelDescription, options: LoweringOptions) {
    this.#model = model;
    const converted = new FileLayout(options.convertedFile);
    const transposed = new FileLayout(options.transposedFile);
    const type = options.decoderType;
    const names = [...model.tensors.keys()].filter((name) => name.endsWith('.weight_packed')).sort();
    for (const packedName of names) {
      const name = packedName.slice(0, -'.weight_packed'.length);
      const { bits, N, K, group, repeat } = this.packed(name)!;
      const packed = this.#tensor(packedName);
      const scale = this.#tensor(`${name}.weight_scale`);
      if (bits === 8) {
        converted.add(`${name}.weight`, type, [N, K], { kind: 'dequantized', packed, scale, type });
        continue;
      }
      transposed.add(`${name}.weight_int4`, 'int4', [K, N], { kind: 'transposed', packed, scale });
      const turned = { kind: 'transposed scale', scale, repeat, type } as const;
      transposed.add(`${name}.weight_scale_transposed`, type, [K / group, N], turned);
      if (scale.dtype !== DTYPES[type] || repeat > 1) {
        converted.add(`${name}.weight_scale`, type, [N, K / group], { kind: 'cast', source: scale, repeat, type });
      }
    }
    const head = model.tensors.get(`${LM_HEAD}.weight`);
    if (head !== undefined && head.dtype !== DTYPES[type]) {
      converted.add(`${LM_HEAD}.weight`, type, head.shape, { kind: 'cast', source: head, repeat: 1, type });
    }
    this.converted = converted.finish();
    this.transposed = transposed.finish();
    for (const { weights } of [this.converted, this.transposed]) {
      for (const weight of weights) this.#made.set(weight.name, weight);
    }
  }

  /** Sizes of a packed linear; undefined when it is stored as numbers. */
  packed(name: string): PackedSizes | undefined {
    if (!this.#model.tensors.has(`${name}.weight_packed`)) return undefined;
    const { rows: N, columns: K, bits, groupSize } = packedForm(this.#model, name);
    // Two nibbles of a row of [K, N] share a byte.
    if (bits === 4 && N % 2 !== 0) throw new TypeError(`expected an even number of outputs of ${name}, got ${N}`);
    const group = groupSize < K ? groupSize : (GROUPS.find((size) => K % size === 0) ?? K);
    return { bits, N, K, group, repeat: groupSize / group };
  }

  has(name: string): boolean {
    return this.#made.has(name) || this.#model.tensors.has(name);
  }

  /** The made one where there is one. */
  locate(name: string): LoweredWeight {
    const made = this.#made.get(name);
    if (made !== undefined) return made;
    const { file, offsetBytes, sizeBytes, dtype, shape } = this.#tensor(name);
    const type = TYPES[dtype];
    if (type === undefined) throw new TypeError(`expected ${name} as F32, F16, BF16 or I32, got ${dtype}`);
    return { name, type, shape, file, offsetBytes, sizeBytes };
  }

  /**
   * What graphs in plugin mode take as inputs: int4 weights and their scales as they lie on disk, and the lm_head where
   * it is plain numbers. One copy in device memory serves all engines.
   */
  pluginInputs(): LoweredWeight[] {
    const inputs: LoweredWeight[] = [];
    for (const packedName of [...this.#model.tensors.keys()].sort()) {
      const name = packedName.slice(0, -'.weight_packed'.length);
      if (!packedName.endsWith('.weight_packed') || this.packed(name)?.bits !== 4) continue;
      inputs.push(this.locate(packedName), this.locate(`${name}.weight_scale`));
    }
    if (this.has(`${LM_HEAD}.weight`)) inputs.push(this.locate(`${LM_HEAD}.weight`));
    return inputs;
  }

  #tensor(name: string): TensorLocation {
    const tensor = this.#model.tensors.get(name);
    if (tensor === undefined) throw new RangeError(`expected tensor ${name} in the checkpoint, it is missing`);
    return tensor;
  }
}

/** One weight after another, aligned. */
class FileLayout {
  readonly #file: string;
  readonly #weights: MadeWeight[] = [];
  #end = 0;

  constructor(file: string) {
    this.#file = file;
  }

  add(name: string, type: ElementType, shape: readonly number[], recipe: WeightRecipe): void {
    const count = shape.reduce((product, size) => product * size, 1);
    const sizeBytes = type === 'int4' ? count / 2 : count * TYPE_BYTES[type as LoweredType];
    const offsetBytes = Math.ceil(this.#end / ALIGNMENT) * ALIGNMENT;
    this.#weights.push({ name, type, shape, file: this.#file, offsetBytes, sizeBytes, recipe });
    this.#end = offsetBytes + sizeBytes;
  }

  finish(): WeightsFile {
    return { file: this.#file, sizeBytes: this.#end, weights: this.#weights };
  }
}
