/** The `onnx` backend: ONNX Runtime on our own graphs, in a worker thread. */

import { silentLogger } from '../../core/logger.js';
import type { AccuracyLevel } from '../../graph/index.js';
import type { Engine, EngineInfo } from '../engine.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import { describeCpu, physicalCores } from '../shared/cpu-info.js';
import { checkCount, keyValueBytesPerToken, resolveContextLength } from '../shared/engine-checks.js';
import { mergeableFrom } from '../shared/tile-tables.js';
import { requireFloatVision } from '../shared/vision-options.js';
import { prepareGraphs } from './onnx-prepare.js';
import { type OpenRequest, STEP_TOKENS } from './onnx-protocol.js';
import { OnnxEngine, type OnnxListeners } from './onnx-proxy.js';

/** Decoders below this get a second session for text alone; above it the memory is worth more than the time. */
const SEPARATE_TEXT_DECODER_BYTES = 512 * 2 ** 20;
/**
 * Float weights: ONNX Runtime has other kernels for one token than for several; logits of the demo model differ by up to
 * 8e-5, and twice that decides a choice. The margin is ten times wider. Keys and values of drafted tokens carry the last
 * bits too, and keep them; they are part of the 8e-5.
 * int4 weights have no margin: activations are rounded to int8, and a last bit moves some of them by a whole step: up to
 * 0.07 in the demo model's logits. Of 500 answers of a model with random weights 2 came out different, margin or not.
 */
const CLOSE_CALL_MARGIN = 2e-3;
const EMBEDDING = 'language_model.model.embed_tokens.weight';

export interface OnnxEngineOptions extends OpenEngineOptions {
  /** int4 products: 4 (default) rounds activations to int8, 1 keeps float32, for reference values. */
  readonly accuracyLevel?: AccuracyLevel | undefined;
  /** Default: by the size of the decoder. */
  readonly separateTextDecoder?: boolean | undefined;
  /**
   * Receives intermediate tensors under the names of golden cases (`after_layernorm_pre`, `text.after_layer_3`), once
   * per run of a graph, before the call returns. Slow: for verification.
   */
  readonly onTensor?: OnnxListeners['onTensor'];
}

/**
 * @throws SdkError ERR_NATIVE_UNAVAILABLE onnxruntime-node cannot be loaded
 * @throws SdkError ERR_ARGUMENT_INVALID an option out of its range
 * @throws SdkError ERR_MODEL_INVALID a weights file was cut or replaced since the checkpoint was opened
 * @throws SdkError ERR_ENGINE_FAILED the runtime refuses a graph
 * @throws SdkError ERR_PREPARE_LOCKED another process prepares the same model and does not finish
 *
 * @example
 * await using engine = await openOnnxEngine(await openCheckpoint(directory));
 * using sequence = engine.createSequence();
 * const { logits } = await sequence.forward(tokens, { images: [], logits: 'last' });
 */
export async function openOnnxEngine(checkpoint: EngineCheckpoint, options: OnnxEngineOptions = {}): Promise<Engine> {
  options.signal?.throwIfAborted();
  const { architecture, int4, tensors } = checkpoint.model;
  const contextLength = resolveContextLength(options.contextLength, architecture.text);
  const threads = checkCount('threads', options.threads, 1024) ?? physicalCores();
  const numerics = options.numerics ?? 'meta';
  const resolved = {
    ...options,
    numerics,
    contextLength,
    accuracyLevel: options.accuracyLevel ?? 4,
    instrument: options.onTensor !== undefined,
  };
  requireFloatVision(options.vision, 'onnx');
  options.onProgress?.({ phase: 'prepare graphs', done: 0, total: 1, unit: 'steps' });
  const prepared = await prepareGraphs(checkpoint, resolved);
  options.onProgress?.({ phase: 'prepare graphs', done: 1, total: 1, unit: 'steps' });

  const request: OpenRequest = {
    ...prepared,
    architecture,
    embedding: tensors.get(EMBEDDING)!,
    numerics,
    mergeableFrom: mergeableFrom(checkpoint.model, options.vision),
    contextLength: resolved.contextLength,
    threads,
    separateTextDecoder: options.separateTextDecoder ?? decoderBytes(checkpoint) < SEPARATE_TEXT_DECODER_BYTES,
    trace: resolved.instrument,
  };
  const info: EngineInfo = {
    backend: 'onnx',
    device: describeCpu(threads),
    numerics,
    weights: int4 === null ? 'float' : 'int4',
    vision: 'float',
    contextLength: resolved.contextLength,
    vocabularySize: architecture.text.vocabularySize,
    capabilities: {
      batchedSlices: 1,
      sliceTokens: STEP_TOKENS,
      closeCallMargin: int4 === null ? CLOSE_CALL_MARGIN : null,
      prefixReuse: int4 === null,
      attentionTaps: true,
      branchTokens: 0, // GroupQueryAttention takes no mask
      keyValueBytesPerToken: keyValueBytesPerToken(architecture.text, Float32Array.BYTES_PER_ELEMENT),
      reservesContext: false,
    },
  };
  const engine = new OnnxEngine(info, request, options);
  try {
    await engine.start(options);
  } catch (error) {
    await engine[Symbol.asyncDispose]();
    throw error;
  }
  (options.logger ?? silentLogger).log('info', `onnx engine open: ${checkpoint.name} on ${info.device}`);
  return engine;
}

function decoderBytes({ model }: EngineCheckpoint): number {
  let sizeBytes = 0;
  for (const [name, { sizeBytes: bytes }] of model.tensors) {
    if (name.startsWith('language_model.') && name !== EMBEDDING) sizeBytes += bytes;
  }
  return sizeBytes;
}
