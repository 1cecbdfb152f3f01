/**
 * One open model in the addon. TypeScript decides steps, masks, positions and embeddings; the addon binds, copies
 * and runs. `NativeEngine` around it checks, orders and aborts.
 */
import { visionGeometry } from '../../architecture/vision-tokens.js';
import { SdkError } from '../../core/errors.js';
import { loweredVisionTokens } from '../../graph/tensorrt/index.js';
import type { ProcessedImage } from '../../image/processed-image.js';
import type { AttentionWeights, SliceResult } from '../engine.js';
import {
  type CrossAttentionPlan,
  keysPerImage,
  LOWEST_FLOAT,
  type PlanConstants,
  planCrossAttention,
} from '../shared/cross-attention.js';
import type { EmbeddingTable } from '../shared/embedding-table.js';
import type { Enqueue, NativeBackend, NativeForward, NativeImage, NativePlacedImage } from '../shared/native-engine.js';
import { chooseVisionTokens, type VisionInputsConfig } from '../shared/vision-inputs.js';
import type {
  HostTensor,
  TensorRtAddon,
  TensorRtArray,
  TensorRtBinding,
  TensorRtImageHandle,
  TensorRtModelHandle,
  TensorRtSequenceHandle,
  TensorRtStage,
} from './addon-types.js';
import { AttentionTaps } from './attention-taps.js';
import { arrayFor, floatsOf } from './element-arrays.js';
import { SINGLE_DECODER } from './model-spec.js';

type Placed = NativePlacedImage<TensorRtImageHandle>;
type Inputs = Record<string, HostTensor>;
type Outputs = Record<string, TensorRtArray>;

/** Receives intermediate tensors of instrumented graphs under the names of golden cases. */
export type OnTensor = (name: string, data: Float32Array, shape: readonly number[]) => void;

export interface TensorRtBackendOptions {
  readonly model: TensorRtModelHandle;
  readonly stages: readonly TensorRtStage[];
  readonly config: VisionInputsConfig;
  readonly embedding: EmbeddingTable;
  /** Tokens of one step, and images that they may look at together. */
  readonly maxPrefillTokens: number;
  readonly maxDecodeTokens: number;
  readonly maxImages: number;
  readonly onTensor?: OnTensor | undefined;
  /** Receives `cross_attention_states` of each picture, also where nothing else is shown. */
  readonly onFeatures?: OnTensor | undefined;
  /** After each step: caches that were copied so far instead of being written in place. */
  readonly onKeyValueCopies?: ((copies: number) => void) | undefined;
}

/**
 * Encodes images and runs steps of one model through the addon. Not for concurrent use: `NativeEngine` orders the
 * calls.
 */
export class TensorRtBackend implements NativeBackend<TensorRtImageHandle, TensorRtSequenceHandle> {
  readonly #addon: TensorRtAddon;
  readonly #options: TensorRtBackendOptions;
  readonly #stages: ReadonlyMap<string, TensorRtStage>;
  /** What text alone looks at where no decoder comes without cross-attention; results are dropped. */
  #blank: { readonly handle: TensorRtImageHandle; readonly positions: number } | undefined;
  readonly #constants: PlanConstants;

  constructor(addon: TensorRtAddon, options: TensorRtBackendOptions) {
    this.#addon = addon;
    this.#options = options;
    const { architecture, numerics } = options.config;
    const { tokensPerTile } = visionGeometry(architecture.vision);
    this.#constants = { tokensPerTile, maxNumTiles: architecture.vision.maxNumTiles, numerics };
    this.#stages = new Map(options.stages.map((stage) => [stage.name, stage]));
  }

  encodeImage(image: ProcessedImage, enqueue: Enqueue): Promise<NativeImage<TensorRtImageHandle>> {
    return enqueue((flag) => this.#encode(image, flag));
  }

  createSequence(): TensorRtSequenceHandle {
    return this.#addon.createTensorRtSequence(this.#options.model);
  }

  async forward(
    call: NativeForward<TensorRtImageHandle, TensorRtSequenceHandle>,
    flag: Int32Array,
  ): Promise<SliceResult> {
    const { tokens } = call;
    const { vocabularySize } = this.#options.config.architecture.text;
    const logitsRows = call.logits === 'all' ? tokens.length : 1;
    const logits = new Float32Array(logitsRows * vocabularySize);
    const taps = call.attention && new AttentionTaps(this.#options.config.architecture.text, call.attention);
    for (let start = 0; start < tokens.length; ) {
      const step = this.#nextStep(call, start);
      const ofStep = tokens.subarray(start, start + step.count);
      // Logits that nobody asked for are made all the same, of one token: the graph gives no fewer.
      const into =
        call.logits === 'all' ? logits.subarray(start * vocabularySize, (start + step.count) * vocabularySize) : logits;
      await this.#step(call, start, ofStep, step.plan, into, flag, taps);
      start += step.count;
    }
    return { logits, logitsRows, ...(taps && { attention: await this.#weights(taps, call, flag) }) };
  }

  #weights(
    taps: AttentionTaps,
    { images, length }: NativeForward<TensorRtImageHandle, unknown>,
    flag: Int32Array,
  ): Promise<AttentionWeights> {
    const { model } = this.#options;
    const keys = this.#stages.get('cross-kv')!.bindings.find(({ name }) => name.startsWith('cross_key.'))!;
    return taps.weights(images, this.#constants.tokensPerTile, length, keys, (image, part, into) =>
      this.#addon.readTensorRtImage(model, image, part, into, flag),
    );
  }

  release(handle: TensorRtImageHandle | TensorRtSequenceHandle): void {
    this.#addon.releaseTensorRtHandle(handle);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#blank !== undefined) this.#addon.releaseTensorRtHandle(this.#blank.handle);
    this.#addon.releaseTensorRtHandle(this.#options.model);
    this.#options.embedding[Symbol.dispose]();
  }

  /**
   * As many tokens as a step takes. All logits come at most `maxDecodeTokens` at a time, and tokens that look at more images
   * than a step takes are halved until they do not.
   */
  #nextStep({ tokens, length, images, logits }: NativeForward<TensorRtImageHandle, unknown>, start: number) {
    const { maxPrefillTokens, maxDecodeTokens, maxImages } = this.#options;
    const most = logits === 'all' ? maxDecodeTokens : maxPrefillTokens;
    for (let count = Math.min(tokens.length - start, most); ; count = Math.ceil(count / 2)) {
      const plan = planCrossAttention({ ...this.#constants, images, firstToken: length + start, tokens: count });
      if (plan.images.length <= maxImages) return { count, plan };
      if (count > 1) continue;
      throw new SdkError(
        'ERR_LIMIT_EXCEEDED',
        `Expected text that looks at no more than ${maxImages} images at once, but ${plan.images.length} stand side by side before it. Put text between them, or use the cpu backend.`,
        { details: { maxImages, images: plan.images.length } },
      );
    }
  }

  async #step(
    call: NativeForward<TensorRtImageHandle, TensorRtSequenceHandle>,
    start: number,
    tokens: Int32Array,
    plan: CrossAttentionPlan,
    logits: Float32Array,
    flag: Int32Array,
    taps: AttentionTaps | undefined,
  ): Promise<void> {
    const { model, config, embedding, maxDecodeTokens } = this.#options;
    const { hiddenSize, vocabularySize } = config.architecture.text;
    const count = tokens.length;
    const wanted = logits.length / vocabularySize;
    const isDecode = count <= maxDecodeTokens;
    // Tokens none of which sees an image are text alone.
    const textStage = isDecode ? 'decode-text' : 'prefill-text';
    const isText = plan.keys === 0 && this.#stages.has(textStage);
    const separate = isText ? textStage : isDecode ? 'decode' : 'prefill';
    const stage = this.#stages.get(separate) ?? this.#stages.get(SINGLE_DECODER)!;
    const inputs: Inputs = {
      inputs_embeds: float32(embedding.lookUp(tokens), [1, count, hiddenSize]),
      past_length: { type: 'int32', shape: [1], data: Int32Array.of(call.length + start) },
      logits_rows: int64(Array.from({ length: wanted }, (_, token) => count - wanted + token)),
    };
    const images = isText ? [] : await this.#addCross(inputs, plan, call.images, count, flag);
    const outputs: Outputs = { logits };
    const traces = this.#addTraces(outputs, stage, count);
    taps?.addOutputs(outputs, stage, start, count);
    const forward = { stage: stage.name, inputs, images, outputs };
    const { keyValueCopies } = await this.#addon.forwardTensorRt(model, call.sequence, forward, flag);
    this.#options.onKeyValueCopies?.(keyValueCopies);
    this.#report(traces, outputs, 'text.');
    taps?.keep(outputs, stage, start);
  }

  /** @returns The images whose keys take part. */
  async #addCross(
    inputs: Inputs,
    plan: CrossAttentionPlan,
    placed: readonly Placed[],
    tokens: number,
    flag: Int32Array,
  ): Promise<TensorRtImageHandle[]> {
    inputs.cross_attention_rows = float32(plan.attentionTokens, [1, tokens, 1]);
    inputs.cross_mlp_rows = float32(plan.mlpTokens, [1, tokens, 1]);
    if (plan.keys > 0) {
      const seen = plan.images.map((index) => placed[index]!);
      // Instrumented graphs keep the keys of unused slots too.
      const bias = this.#options.config.trace ? this.#biasOfAllSlots(plan, seen, tokens) : plan.bias;
      inputs.cross_attention_bias = float32(bias, [1, 1, tokens, bias.length / tokens]);
      return seen.map(({ handle }) => handle);
    }
    this.#blank ??= await this.#encodeBlank(flag);
    const { handle, positions } = this.#blank;
    inputs.cross_attention_bias = float32(new Float32Array(tokens * positions), [1, 1, tokens, positions]);
    return [handle];
  }

  #biasOfAllSlots(plan: CrossAttentionPlan, seen: readonly Placed[], tokens: number): Float32Array {
    const widened = new Float32Array(tokens * seen.length * this.#allKeys).fill(LOWEST_FLOAT);
    const counts = seen.map(({ numTiles }) => keysPerImage(this.#constants, numTiles));
    for (let token = 0; token < tokens; token++) {
      let from = token * plan.keys;
      counts.forEach((count, image) => {
        const to = (token * seen.length + image) * this.#allKeys;
        widened.set(plan.bias.subarray(from, from + count), to);
        from += count;
      });
    }
    return widened;
  }

  /** One tile of nothing, with the pixels that unused slots have. */
  async #encodeBlank(flag: Int32Array) {
    const { tileSize, maxNumTiles } = this.#options.config.architecture.vision;
    const geometry = {
      sourceWidth: tileSize,
      sourceHeight: tileSize,
      resizedWidth: tileSize,
      resizedHeight: tileSize,
      canvasWidth: tileSize,
      canvasHeight: tileSize,
      tileSize,
    };
    const pixelValues = new Float32Array(maxNumTiles * 3 * tileSize ** 2);
    return this.#run({ pixelValues, aspectRatioId: 1, numTiles: 1, geometry }, {}, flag);
  }

  async #encode(image: ProcessedImage, flag: Int32Array): Promise<NativeImage<TensorRtImageHandle>> {
    const outputs: Outputs = {};
    const stages = ['vision', 'cross-kv'].map((name) => this.#stages.get(name)!);
    const traces = stages.flatMap((stage) => this.#addTraces(outputs, stage, 0));
    const features = this.#addFeatures(outputs, image.numTiles);
    const made = await this.#run(image, outputs, flag);
    this.#report(traces, outputs, '');
    if (features !== undefined) this.#report([features], outputs, '', this.#options.onFeatures);
    return made;
  }

  #run(image: ProcessedImage, outputs: Outputs, flag: Int32Array) {
    const { config, model } = this.#options;
    const chosen = chooseVisionTokens(config, image);
    const { biases, lists } = loweredVisionTokens(chosen.tokens);
    const inputs: Inputs = {
      pixel_values: float32(chosen.pixelValues, chosen.pixelShape),
      aspect_ratio_id: int64([image.aspectRatioId]),
    };
    for (const [name, list] of Object.entries(lists)) inputs[name] = int64(list);
    for (const [name, bias] of Object.entries(biases)) inputs[name] = float32(bias, [bias.length]);
    if (config.trace) inputs.full_sequence = int64(chosen.tokens.fullSequence);
    requireProfile(this.#stages.get('vision')!, inputs);
    return this.#addon.encodeTensorRtImage(model, inputs, outputs, flag);
  }

  /** Room for every intermediate tensor of a stage that somebody listens to. */
  #addTraces(outputs: Outputs, stage: TensorRtStage, tokens: number): TensorRtBinding[] {
    if (this.#options.onTensor === undefined) return [];
    const isTrace = ({ role, name }: TensorRtBinding) =>
      role === 'output' && name !== 'logits' && !name.startsWith('cross_query.');
    const traces = stage.bindings.filter(isTrace);
    return traces.map((binding) => {
      const shape = binding.shape.map((side) => (side === 'R' ? tokens : side === 'K' ? this.#allKeys : Number(side)));
      const count = shape.reduce((product, side) => product * side, 1);
      outputs[binding.name] = arrayFor(binding.type, count);
      return { ...binding, shape };
    });
  }

  /** Room for the features of the used tiles, where only they are asked for. */
  #addFeatures(outputs: Outputs, numTiles: number): TensorRtBinding | undefined {
    if (this.#options.onFeatures === undefined || this.#options.onTensor !== undefined) return undefined;
    const binding = this.#stages.get('vision')!.bindings.find(({ name }) => name === 'cross_attention_states')!;
    const shape = [numTiles * this.#constants.tokensPerTile, Number(binding.shape[1])];
    const count = shape[0]! * shape[1]!;
    outputs[binding.name] = binding.type === 'float32' ? new Float32Array(count) : new Uint16Array(count);
    return { ...binding, shape };
  }

  /** Instrumented graphs give the states of all slots. */
  get #allKeys(): number {
    return this.#constants.maxNumTiles * this.#constants.tokensPerTile;
  }

  #report(
    traces: readonly TensorRtBinding[],
    outputs: Outputs,
    prefix: string,
    listener = this.#options.onTensor,
  ): void {
    for (const { name, type, shape } of traces) {
      listener?.(`${prefix}${name}`, floatsOf(outputs[name]!, type), shape as number[]);
    }
  }
}

/**
 * The plan takes every image of the checkpoint, tiled as our processor does it. Another tiling may need more tokens.
 * @throws SdkError ERR_ARGUMENT_INVALID
 */
function requireProfile({ plan }: TensorRtStage, inputs: Inputs): void {
  for (const { name, min, max } of plan.profile) {
    const shape = inputs[name]?.shape ?? [];
    const fits = shape.length === min.length && shape.every((side, i) => side >= min[i]! && side <= max[i]!);
    if (fits) continue;
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `The vision plan takes ${name} from [${min}] to [${max}], but this image needs [${shape}]. Leave unused tile slots all 0, as the image processor does, or open the engine with vision: 'full'.`,
      { details: { input: name, shape, min, max } },
    );
  }
}

function float32(data: Float32Array, shape: readonly number[]): HostTensor {
  return { type: 'float32', shape, data };
}

function int64(values: readonly number[]): HostTensor {
  return { type: 'int64', shape: [values.length], data: BigInt64Array.from(values, BigInt) };
}
