/** Opens the native decoder: where packed weights are kept, which kernels run, what is done when the cache fails. */
import { SdkError } from '../../core/errors.js';
import { engineAddon } from '../../native/index.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import { abortable } from '../shared/cancellation.js';
import {
  type CpuInstructionSet,
  chooseInstructionSet,
  NOT_PACKED,
  openPacked,
  type PackedPlace,
  placeOfPacked,
} from '../shared/packed-weights.js';
import type { CpuDecoderSpec, CpuKeyValueType, OpenedCpuDecoder } from './addon-types.js';

/** What the cpu backend's decoder is opened with; `CpuEngineOptions` has the defaults. */
export interface CpuDecoderOptions extends OpenEngineOptions {
  readonly numerics: NonNullable<OpenEngineOptions['numerics']>;
  /** Tokens that one sequence holds at most: the length of its K/V cache. */
  readonly contextLength: number;
  /** The fastest that the processor has when left out. ERR_ARGUMENT_INVALID for one that it lacks. */
  readonly instructionSet?: CpuInstructionSet | undefined;
  /** How the K/V cache stores a value; `'f16'` when left out. */
  readonly keyValueType?: CpuKeyValueType | undefined;
}

const KEY_VALUE_TYPES: readonly CpuKeyValueType[] = ['f16', 'int8', 'f32'];
const TEXT_TENSOR = /^language_model\./;
/**
 * Opens the decoder of a checkpoint. Weights are packed once and mapped from the cache afterwards; packed in memory,
 * with a
 * warning, where the cache cannot be written.
 * @throws SdkError ERR_ARGUMENT_INVALID for an instruction set or a type that is not one; what the addon reports
 * otherwise
 */
export async function openCpuDecoder(
  checkpoint: EngineCheckpoint,
  options: CpuDecoderOptions,
): Promise<OpenedCpuDecoder> {
  const { model } = checkpoint;
  const spec: Omit<CpuDecoderSpec, keyof PackedPlace> = {
    text: model.architecture.text,
    tensors: [...model.tensors]
      .filter(([name]) => TEXT_TENSOR.test(name))
      .map(([name, location]) => ({ name, ...location })),
    maskedTokensAttend: options.numerics !== 'meta',
    contextLength: options.contextLength,
    threads: options.threads ?? 0,
    instructionSet: chooseInstructionSet(options.instructionSet),
    keyValueType: checkedKeyValueType(options.keyValueType ?? 'f16'),
  };
  const place = model.int4 === null ? NOT_PACKED : await placeOfPacked(checkpoint, options, 'weights');
  return openPacked(place, options, (at) => open({ ...spec, ...at }, options));
}

async function open(spec: CpuDecoderSpec, { signal, onProgress }: CpuDecoderOptions): Promise<OpenedCpuDecoder> {
  return abortable(signal, (abort) =>
    engineAddon().openCpuDecoder(spec, abort, (done, total) => {
      onProgress?.({ phase: 'pack weights', done, total, unit: 'bytes' });
    }),
  );
}

function checkedKeyValueType(type: CpuKeyValueType): CpuKeyValueType {
  if (KEY_VALUE_TYPES.includes(type)) return type;
  throw new SdkError('ERR_ARGUMENT_INVALID', `Expected keyValueType f16, int8 or f32, but received "${type}".`);
}
