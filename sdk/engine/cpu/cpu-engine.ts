/**
 * The `cpu` backend: own kernels decode (native/cpu) on a thread of their own, ONNX Runtime or, in int8, own kernels
 * encode images.
 */
import type { TextArchitecture } from '../../architecture/architecture.js';
import { visionGeometry } from '../../architecture/vision-tokens.js';
import { DisposalStack } from '../../core/lifecycle.js';
import { silentLogger } from '../../core/logger.js';
import type { ProcessedImage } from '../../image/processed-image.js';
import { engineAddon } from '../../native/index.js';
import type { AttentionRequest, Engine, EngineInfo, SliceResult } from '../engine.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import type { CancelFlag } from '../shared/cancel-flag.js';
import { checkCount, keyValueBytesPerToken, resolveContextLength } from '../shared/engine-checks.js';
import { type Enqueue, type NativeBackend, NativeEngine, type NativeForward } from '../shared/native-engine.js';
import { visionChoice } from '../shared/vision-options.js';
import { type Int8VisionTower, openInt8Tower } from '../vision/int8-tower.js';
import { openVisionTower, type VisionTower } from '../vision/vision-tower.js';
import type { CpuAttentionTaps, CpuImageHandle, CpuSequenceHandle, OpenedCpuDecoder } from './addon-types.js';
import { type CpuDecoderOptions, openCpuDecoder } from './decoder.js';

/** What the decoder computes between two looks at an abort (`kPassTokens` in native/cpu/decoder/decoder.cpp). */
const PASS_TOKENS = 256;

export interface CpuEngineOptions extends OpenEngineOptions {
  /**
   * Kernels to use. Default: `SCENEBUS_CPU_INSTRUCTION_SET` in the environment, else the fastest of the processor.
   */
  readonly instructionSet?: CpuDecoderOptions['instructionSet'];
  /**
   * Numbers in the K/V caches. Default `f16`. `f32` takes twice the memory, for reference values; `int8` half of it (a
   * scale for each head and position), for long contexts and many images: answers may differ in close calls.
   */
  readonly keyValueType?: CpuDecoderOptions['keyValueType'];
}

/**
 * Float weights are read where the checkpoint has them; int4 weights are packed once into
 * `<cacheDirectory>/cpu/…weights` and mapped from there afterwards. So are the weights of the vision tower:
 * of a large one in float32 (`onnx-session`; 3.5 GB for the 11B model), of any in int8 (`cpu/…vision-weights`; 0.9 GB).
 * Of each, the two last used are kept.
 *
 * @throws SdkError ERR_NATIVE_UNAVAILABLE the addon or onnxruntime-node cannot be loaded
 * @throws SdkError ERR_MODEL_UNSUPPORTED sizes that the kernels do not take
 * @throws SdkError ERR_ARGUMENT_INVALID an instruction set that the processor does not have, an unknown keyValueType
 *
 * @example
 * await using engine = await openCpuEngine(await openCheckpoint(directory));
 * using sequence = engine.createSequence();
 * const { logits } = await sequence.forward(tokens, { images: [], logits: 'last' });
 */
export async function openCpuEngine(checkpoint: EngineCheckpoint, options: CpuEngineOptions = {}): Promise<Engine> {
  options.signal?.throwIfAborted();
  const { architecture, int4 } = checkpoint.model;
  const contextLength = resolveContextLength(options.contextLength, architecture.text);
  const numerics = options.numerics ?? 'meta';
  checkCount('threads', options.threads, 1024);
  const vision = visionChoice(options.vision);

  const opened = new DisposalStack();
  try {
    const decoder = await openCpuDecoder(checkpoint, { ...options, contextLength, numerics });
    opened.defer(() => engineAddon().releaseCpuHandle(decoder.handle));
    const { threads } = decoder;
    const towerOptions = { ...options, contextLength, numerics, threads };
    const openTower = vision.precision === 'int8' ? openInt8Tower : openVisionTower;
    const tower = opened.use(await openTower(checkpoint, towerOptions));
    options.signal?.throwIfAborted();
    const info: EngineInfo = {
      backend: 'cpu',
      device: describe(decoder),
      numerics,
      weights: int4 === null ? 'float' : 'int4',
      vision: vision.precision,
      contextLength,
      vocabularySize: architecture.text.vocabularySize,
      capabilities: {
        batchedSlices: 1,
        sliceTokens: PASS_TOKENS,
        // Sums every token in the same order whatever its neighbours: equal bits, nothing to compute again.
        closeCallMargin: 0,
        prefixReuse: true,
        attentionTaps: true,
        branchTokens: PASS_TOKENS,
        keyValueBytesPerToken: keyValueBytesPerToken(architecture.text, keyValueBytes(options, architecture.text)),
        reservesContext: false, // addresses only
      },
    };
    (options.logger ?? silentLogger).log('info', `cpu engine open: ${checkpoint.name} on ${info.device}`);
    const backend = new CpuBackend(checkpoint, decoder, tower, opened.move());
    return new NativeEngine(info, architecture, backend);
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

/** Of one number, its share of a scale included. */
function keyValueBytes({ keyValueType = 'f16' }: CpuEngineOptions, { headDim }: TextArchitecture): number {
  return keyValueType === 'f32' ? 4 : keyValueType === 'f16' ? 2 : 1 + 4 / headDim;
}

function describe({ threads, instructionSet }: OpenedCpuDecoder): string {
  const processor = engineAddon().cpuFeatures().processor || process.arch;
  return `${processor}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, ${instructionSet}`;
}

function tapsOf({ heads, tokens }: AttentionRequest, visionTokens: number): CpuAttentionTaps {
  return {
    layers: Int32Array.from(heads, ({ layer }) => layer),
    heads: Int32Array.from(heads, ({ head }) => head),
    tokens: Int32Array.from(tokens),
    weights: new Float32Array(heads.length * tokens.length * visionTokens),
  };
}

/** Calls the addon; `NativeEngine` checks, orders and aborts. */
class CpuBackend implements NativeBackend<CpuImageHandle, CpuSequenceHandle> {
  readonly #checkpoint: EngineCheckpoint;
  readonly #decoder: OpenedCpuDecoder;
  readonly #tower: VisionTower | Int8VisionTower;
  readonly #resources: DisposalStack;

  constructor(
    checkpoint: EngineCheckpoint,
    decoder: OpenedCpuDecoder,
    tower: VisionTower | Int8VisionTower,
    resources: DisposalStack,
  ) {
    this.#checkpoint = checkpoint;
    this.#decoder = decoder;
    this.#tower = tower;
    this.#resources = resources;
  }

  async encodeImage(image: ProcessedImage, enqueue: Enqueue, cancel: CancelFlag) {
    const features = await this.#tower.encode(image, cancel);
    const { tokensPerTile } = visionGeometry(this.#checkpoint.model.architecture.vision);
    const visible = image.numTiles * tokensPerTile;
    return enqueue((flag) => engineAddon().encodeCpuImage(this.#decoder.handle, features, visible, flag));
  }

  createSequence(): CpuSequenceHandle {
    return engineAddon().createCpuSequence(this.#decoder.handle);
  }

  forward(call: NativeForward<CpuImageHandle, CpuSequenceHandle>, flag: Int32Array): Promise<SliceResult> {
    const { sequence, length, tokens, images, logits: wanted, attention, branches } = call;
    const addon = engineAddon();
    const { text, vision } = this.#checkpoint.model.architecture;
    const logitsRows = wanted === 'none' ? 0 : wanted === 'all' ? tokens.length : 1;
    const handles = images.map(({ handle }) => handle);
    const tokenIndices = Int32Array.from(images, ({ tokenIndex }) => tokenIndex);
    addon.truncateCpuSequence(sequence, length);
    const logits = new Float32Array(logitsRows * text.vocabularySize);
    if (branches !== undefined) {
      const lengths = Int32Array.from(branches);
      const { handle } = this.#decoder;
      return addon
        .branchCpu(handle, sequence, tokens, lengths, handles, tokenIndices, logits, flag)
        .then(() => ({ logits, logitsRows }));
    }
    const { tokensPerTile } = visionGeometry(vision);
    const visionTokens = images.reduce((sum, { numTiles }) => sum + numTiles * tokensPerTile, 0);
    const taps = attention && tapsOf(attention, visionTokens);
    return addon
      .forwardCpu(this.#decoder.handle, sequence, tokens, handles, tokenIndices, wanted, logits, flag, taps)
      .then(() => ({ logits, logitsRows, ...(taps && { attention: { weights: taps.weights, visionTokens } }) }));
  }

  release(handle: CpuImageHandle | CpuSequenceHandle): void {
    engineAddon().releaseCpuHandle(handle);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources[Symbol.asyncDispose]();
  }
}
