/** The vision tower in int8 on own kernels, for backends that decode themselves. */
import { SdkError } from '../../core/errors.js';
import type { ProcessedImage } from '../../image/processed-image.js';
import { engineAddon } from '../../native/index.js';
import type { Numerics } from '../engine.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import type { CancelFlag } from '../shared/cancel-flag.js';
import { abortable } from '../shared/cancellation.js';
import { toSdkError } from '../shared/native-call.js';
import { type CpuInstructionSet, chooseInstructionSet, openPacked, placeOfPacked } from '../shared/packed-weights.js';
import { mergeableFrom } from '../shared/tile-tables.js';
import { chooseVisionTokens, type VisionInputsConfig } from '../shared/vision-inputs.js';
import type { CpuVisionSpec, OpenedCpuVision } from './addon-types.js';

export interface Int8TowerOptions extends OpenEngineOptions {
  readonly numerics: Numerics;
  readonly instructionSet?: CpuInstructionSet | undefined;
}

const VISION_TENSOR = /^(vision_model|multi_modal_projector)\./;

/**
 * Weights are rounded to int8 and packed once, into `<cacheDirectory>/cpu/…vision-weights`, and mapped from there
 * afterwards.
 *
 * @throws SdkError ERR_MODEL_INVALID a tensor that is missing, of another shape or not finite
 * @throws SdkError ERR_MODEL_UNSUPPORTED sizes that the kernels do not take
 */
export async function openInt8Tower(checkpoint: EngineCheckpoint, options: Int8TowerOptions): Promise<Int8VisionTower> {
  options.signal?.throwIfAborted();
  const { architecture, tensors } = checkpoint.model;
  const { vision, text } = architecture;
  const mergeable = mergeableFrom(checkpoint.model, options.vision);
  const passed = options.numerics === 'hf-5' ? 1 : 0; // that release takes outputs of layers, not their inputs
  const spec = {
    vision,
    aspectRatios: vision.supportedAspectRatios.length,
    tapLayers: vision.intermediateLayersIndices.map((layer) => layer + passed),
    textHiddenSize: text.hiddenSize,
    tensors: [...tensors]
      .filter(([name]) => VISION_TENSOR.test(name))
      .map(([name, location]) => ({ name, ...location })),
    threads: options.threads ?? 0,
    instructionSet: chooseInstructionSet(options.instructionSet),
  };
  const place = await placeOfPacked(checkpoint, options, 'vision-weights');
  const opened = await openPacked(place, options, (at) => open({ ...spec, ...at }, options));
  return new Int8VisionTower(opened, {
    architecture,
    numerics: options.numerics,
    mergeableFrom: mergeable,
    trace: false,
  });
}

function open(spec: CpuVisionSpec, { signal, onProgress }: Int8TowerOptions): Promise<OpenedCpuVision> {
  return abortable(signal, (abort) =>
    engineAddon().openCpuVision(spec, abort, (done, total) => {
      onProgress?.({ phase: 'pack vision weights', done, total, unit: 'bytes' });
    }),
  );
}

export class Int8VisionTower implements AsyncDisposable {
  readonly #opened: OpenedCpuVision;
  readonly #config: VisionInputsConfig;
  #closed = false;

  constructor(opened: OpenedCpuVision, config: VisionInputsConfig) {
    this.#opened = opened;
    this.#config = config;
  }

  /** Whether the packed file was found, was made, or was rebuilt because it did not fit; and its size. */
  get packed(): Pick<OpenedCpuVision, 'packed' | 'packedSizeBytes'> {
    return this.#opened;
  }

  /**
   * `[keys, textHidden]`: under `meta` the used tiles only, otherwise all slots, used ones first.
   * @param cancel Set: the call ends within a layer.
   * @throws SdkError ERR_DISPOSED after closing
   */
  async encode(image: ProcessedImage, cancel?: CancelFlag): Promise<Float32Array> {
    if (this.#closed) throw new SdkError('ERR_DISPOSED', 'The vision tower is closed; open another engine.');
    const { tokens, pixelValues } = chooseVisionTokens(this.#config, image);
    const states = new Float32Array(tokens.stateTokens.length * this.#config.architecture.text.hiddenSize);
    const plan = { aspectRatioId: image.aspectRatioId, ...tokens };
    const flag = cancel?.own ?? new Int32Array(1);
    try {
      await engineAddon().encodeCpuVision(this.#opened.handle, pixelValues, plan, states, flag);
    } catch (error) {
      throw toSdkError(error);
    }
    return states;
  }

  /** Memory is given back when the call that runs has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    engineAddon().releaseCpuVision(this.#opened.handle);
  }
}
