/** Graphs of a checkpoint to plans that are open: found, or built, in the form for which the builder has the memory. */
import { existsSync } from 'node:fs';
import { isSdkError } from '../../core/errors.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import { ATTENTION_GROUPS } from '../../graph/tensorrt/index.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import { abortable } from '../shared/cancellation.js';
import type {
  BuiltTensorRtPlan,
  OpenedTensorRtModel,
  TensorRtModelSpec,
  TensorRtProgress,
  TensorRtStage,
} from './addon-types.js';
import type { TensorRtHost } from './host.js';
import { type LowerOptions, lowerCheckpoint } from './lowering.js';
import { modelSpec } from './model-spec.js';
import { countFusedAttention, describeVisionAttention, type VisionAttention } from './vision-attention.js';

export interface OpenPlansOptions extends LowerOptions {
  readonly fullVision: boolean;
  readonly attentionTaps?: boolean | undefined;
  readonly onlyVision?: boolean | undefined;
  readonly onVisionAttention?: ((found: VisionAttention) => void) | undefined;
}

/**
 * @throws SdkError what lowering and building throw; signal.reason
 */
export async function openPlans(
  host: TensorRtHost,
  checkpoint: EngineCheckpoint,
  options: OpenPlansOptions,
): Promise<{ readonly spec: TensorRtModelSpec; readonly opened: OpenedTensorRtModel }> {
  const { logger = silentLogger, signal, onProgress } = options;
  onProgress?.({ phase: 'prepare graphs', done: 0, total: 1, unit: 'steps' });
  const lowered = await lowerCheckpoint(checkpoint, { ...options, types: host.types });
  onProgress?.({ phase: 'prepare graphs', done: 1, total: 1, unit: 'steps' });
  const report = (progress: TensorRtProgress) => reportProgress(progress, onProgress, logger);
  const specOf = (groupedVision: boolean) =>
    modelSpec(checkpoint.name, checkpoint.model, lowered, { ...options, groupedVision });
  const { spec, built } = await chooseVision(host, specOf, options, report);
  const opened = await abortable(signal, (flag) => host.addon.openTensorRtModel(spec, report, flag));
  if (signal?.aborted === true) {
    host.addon.releaseTensorRtHandle(opened.handle);
    signal.throwIfAborted();
  }
  for (const plan of opened.plans) {
    const { path, origin, reason, seconds } = plan.path === built?.path && plan.origin === 'found' ? built : plan;
    if (origin === 'found') continue;
    const why = reason === null ? '' : `; the one that was there did not fit: ${reason}`;
    logger.log('info', `${path} ${origin} in ${seconds.toFixed(0)} s${why}`);
  }
  const attention = visionAttention(spec, opened, checkpoint);
  if (attention !== undefined) {
    const isFused = attention.fused >= attention.expected;
    logger.log(isFused ? 'info' : 'warn', describeVisionAttention(attention));
    options.onVisionAttention?.(attention);
  }
  return { spec, opened };
}

/**
 * Attention that is not fused holds its scores; where the builder has no memory for those of all heads, they attend in
 * groups. That it had none shows in the first build only: later the plan that is there is taken.
 */
async function chooseVision(
  host: TensorRtHost,
  specOf: (grouped: boolean) => TensorRtModelSpec,
  { signal, logger = silentLogger }: OpenPlansOptions,
  report: (progress: TensorRtProgress) => void,
): Promise<{ readonly spec: TensorRtModelSpec; readonly built?: BuiltTensorRtPlan }> {
  const whole = specOf(false);
  const vision = visionStage(whole);
  if (vision === undefined) return { spec: whole };
  const grouped = specOf(true);
  const inGroups = visionStage(grouped)!;
  if (!existsSync(vision.plan.plan) && existsSync(inGroups.plan.plan)) return { spec: grouped };
  const build = ({ plan }: TensorRtStage) =>
    abortable(signal, (flag) => host.addon.buildTensorRtPlan(plan, report, flag));
  try {
    return { spec: whole, built: await build(vision) };
  } catch (error) {
    signal?.throwIfAborted();
    if (!isSdkError(error, 'ERR_ENGINE_OUT_OF_MEMORY')) throw error;
    const message = `TensorRT had no memory to build the plan ${vision.plan.name}; ${inGroups.plan.name} is built instead (${error.message})`;
    logger.log('warn', message);
    return { spec: grouped, built: await build(inGroups) };
  }
}

function visionStage({ stages }: TensorRtModelSpec): TensorRtStage | undefined {
  return stages.find(({ name }) => name === 'vision');
}

/** Undefined without a vision tower, or where the inspector tells nothing. */
function visionAttention(
  spec: TensorRtModelSpec,
  { plans }: OpenedTensorRtModel,
  { model }: EngineCheckpoint,
): VisionAttention | undefined {
  const stage = visionStage(spec);
  const layers = plans.find(({ path }) => path === stage?.plan.plan)?.layers ?? null;
  const fused = layers === null ? undefined : countFusedAttention(layers);
  if (stage === undefined || fused === undefined) return undefined;
  const grouped = stage.plan.name.endsWith('-grouped');
  const { vision } = model.architecture;
  const groups = grouped ? Math.min(ATTENTION_GROUPS, vision.attentionHeads) : 1;
  // Once for real tokens and once for padding.
  return { fused, expected: 2 * groups * (vision.localLayers + vision.globalLayers), grouped };
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
