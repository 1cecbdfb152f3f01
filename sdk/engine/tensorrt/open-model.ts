/** Opens a checkpoint in one mode: graphs, plans, weights. Whether the mode computes what it should is asked elsewhere. */
import { isSdkError, type SdkError } from '../../core/errors.js';
import { DisposalStack } from '../../core/lifecycle.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import type { Engine, EngineInfo, Numerics } from '../engine.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import { abortable } from '../shared/cancellation.js';
import { EmbeddingTable } from '../shared/embedding-table.js';
import { keyValueBytesPerToken } from '../shared/engine-checks.js';
import { NativeEngine } from '../shared/native-engine.js';
import { mergeableFrom, mergesEveryImage } from '../shared/tile-tables.js';
import type { OpenedTensorRtModel, TensorRtModelSpec, TensorRtProgress } from './addon-types.js';
import type { TensorRtHost } from './host.js';
import { IMAGES_OF_A_STEP, lowerCheckpoint, type TensorRtMode } from './lowering.js';
import { modelSpec } from './model-spec.js';
import { describePlatform, requirePlatform } from './status.js';
import { type OnTensor, TensorRtBackend } from './tensorrt-backend.js';

/**
 * Products in float16, and plans for one token differ from those for several. On a processor the same graphs differ by less
 * than 2e-2 between one token and many; the margin is more than twice that. Not measured on a device.
 */
const CLOSE_CALL_MARGIN = 5e-2;
const EMBEDDING = 'language_model.model.embed_tokens.weight';

export interface TensorRtEngineOptions extends OpenEngineOptions {
  /**
   * `auto` (default): own kernels, where the self-test of this device has passed them, else standard operators, if
   * those passed. A mode that is named is used if it passes.
   */
  readonly mode?: 'auto' | TensorRtMode | undefined;
  /** Receives intermediate tensors under the names of golden cases; other plans than those that serve. */
  readonly onTensor?: OnTensor | undefined;
}

/** Options of one mode, whose kernels the self-test has passed, or is about to. */
export type OpenModelOptions = Omit<TensorRtEngineOptions, 'mode'> & {
  readonly mode: TensorRtMode;
  readonly contextLength: number;
  readonly onKeyValueCopies?: ((copies: number) => void) | undefined;
  /** Receives `cross_attention_states` of each picture, out of the plans that serve. */
  readonly onFeatures?: OnTensor | undefined;
  /** Opens no decoder: pictures can be encoded, and no text. */
  readonly onlyVision?: boolean | undefined;
};

/** @internal Opens a checkpoint without any test. */
export async function openModel(
  host: TensorRtHost,
  checkpoint: EngineCheckpoint,
  options: OpenModelOptions,
): Promise<Engine> {
  const { architecture, int4, tensors } = checkpoint.model;
  const { logger = silentLogger, mode, contextLength, numerics = 'meta' } = options;
  const platform = requirePlatform(host.addon);
  const embedding = new DisposalStack();
  try {
    const table = embedding.use(new EmbeddingTable(tensors.get(EMBEDDING)!));
    const mergeable = mergeableFrom(checkpoint.model, options.vision);
    const fullVision = !mergesEveryImage(architecture.vision, mergeable);
    const { spec, opened } = await openPlans(host, checkpoint, { ...options, numerics, fullVision });
    const limits = tokenLimits(spec);
    const backend = new TensorRtBackend(host.addon, {
      model: opened.handle,
      stages: spec.stages,
      config: {
        architecture,
        numerics,
        mergeableFrom: mergeable,
        trace: options.onTensor !== undefined,
      },
      embedding: table,
      ...limits,
      maxImages: IMAGES_OF_A_STEP,
      onTensor: options.onTensor,
      onKeyValueCopies: options.onKeyValueCopies,
      onFeatures: options.onFeatures,
    });
    embedding.move(); // the backend owns it
    const info: EngineInfo = {
      backend: 'tensorrt',
      device: describePlatform(platform, mode),
      numerics,
      weights: int4 === null ? 'float' : 'int4',
      vision: 'float',
      contextLength,
      vocabularySize: architecture.text.vocabularySize,
      capabilities: {
        batchedSlices: 1,
        sliceTokens: limits.maxPrefillTokens,
        closeCallMargin: CLOSE_CALL_MARGIN,
        prefixReuse: true,
        attentionTaps: options.attentionTaps === true,
        branchTokens: 0,
        keyValueBytesPerToken: keyValueBytesPerToken(architecture.text, 2),
        reservesContext: true,
      },
    };
    logger.log('info', `tensorrt engine open: ${checkpoint.name} on ${info.device}`, { memory: opened.memory });
    return new NativeEngine(info, architecture, backend);
  } catch (error) {
    await embedding[Symbol.asyncDispose]();
    throw error;
  }
}

/** Tokens of a step, as the plans were built for them. */
function tokenLimits({ stages }: TensorRtModelSpec): { maxPrefillTokens: number; maxDecodeTokens: number } {
  const largest = (input: string, side: number) =>
    Math.max(
      ...stages.flatMap(({ plan }) => plan.profile.filter(({ name }) => name === input).map(({ max }) => max[side]!)),
    );
  return { maxPrefillTokens: largest('inputs_embeds', 1), maxDecodeTokens: largest('logits_rows', 0) };
}

async function openPlans(
  host: TensorRtHost,
  checkpoint: EngineCheckpoint,
  options: OpenModelOptions & { readonly numerics: Numerics; readonly fullVision: boolean },
): Promise<{ spec: TensorRtModelSpec; opened: OpenedTensorRtModel }> {
  const { logger = silentLogger, signal, onProgress } = options;
  onProgress?.({ phase: 'prepare graphs', done: 0, total: 1, unit: 'steps' });
  const instrument = options.onTensor !== undefined;
  const lowered = await lowerCheckpoint(checkpoint, { ...options, types: host.types, instrument });
  onProgress?.({ phase: 'prepare graphs', done: 1, total: 1, unit: 'steps' });
  const spec = modelSpec(checkpoint.name, checkpoint.model, lowered, options);
  const report = (progress: TensorRtProgress) => reportProgress(progress, onProgress, logger);
  const opened = await abortable(signal, (flag) => host.addon.openTensorRtModel(spec, report, flag));
  if (signal?.aborted === true) {
    host.addon.releaseTensorRtHandle(opened.handle);
    signal.throwIfAborted();
  }
  for (const { path, origin, reason, seconds } of opened.plans) {
    if (origin === 'found') continue;
    const why = reason === null ? '' : `; the one that was there did not fit: ${reason}`;
    logger.log('info', `${path} ${origin} in ${seconds.toFixed(0)} s${why}`);
  }
  return { spec, opened };
}

const PHASES = { wait: 'wait for another builder of plan', build: 'build plan', load: 'load plan' } as const;

function reportProgress(progress: TensorRtProgress, onProgress: OpenEngineOptions['onProgress'], logger: Logger): void {
  if (progress.kind === 'notice') {
    logger.log('warn', progress.message);
    return;
  }
  const { stage, name, done, total } = progress;
  // TensorRT's own phases nest and alternate by the dozen; what people can follow is which plan it is at.
  if (stage === 'weights') onProgress?.({ phase: 'copy weights to the device', done, total, unit: 'bytes' });
  else onProgress?.({ phase: `${PHASES[stage]} ${name}`, done, total, unit: 'steps' });
}

/** Whether the same call fails again in the same way, so that another mode may do better. */
export function isRefusal(error: unknown): error is SdkError {
  return isSdkError(error, 'ERR_ENGINE_INCOMPATIBLE') || isSdkError(error, 'ERR_MODEL_UNSUPPORTED');
}
