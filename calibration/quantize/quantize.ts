/** `scenebus quantize`: a 16- or 32-bit checkpoint folder, or one of another tool, to an int4 one. */
import { resolve } from 'node:path';
import type { MllamaArchitecture } from '#sdk/architecture/architecture.js';
import { SdkError } from '#sdk/core/errors.js';
import { silentLogger } from '#sdk/core/logger.js';
import { calibrate } from './awq.js';
import type { CalibrationScene } from './calibration-samples.js';
import { calibrationScenes, pictureDigests } from './calibration-set.js';
import { openAdapter, withAdapter } from './lora/adapter.js';
import { DEFAULT_SHARD_BYTES, type FolderOptions, type FolderPlan, makeFolder } from './make-folder.js';
import { picturesBytes } from './picture-states.js';
import {
  LM_HEAD_PRECISIONS,
  type LmHeadPrecision,
  type OutputFile,
  planFiles,
  planTensors,
  type QuantizeMethod,
  quantizationConfig,
} from './plan.js';
import { tensorBytes } from './safetensors-writer.js';
import { openForeignSource, openPlainSource, type Source, type SourceFormat } from './sources/open-source.js';
import type { QuantizeTally } from './write-weights.js';

export const QUANTIZE_GROUP_SIZES = [32, 64, 128] as const;
export type QuantizeGroupSize = (typeof QUANTIZE_GROUP_SIZES)[number];

export interface QuantizeOptions extends FolderOptions {
  /** Checkpoint folder in bf16, f16 or f32; with `from` of another tool. It is only read. */
  readonly source: string;
  /**
   * The source is in the format of another tool, which is converted: integers and scales are kept where they are
   * symmetric int4 in the same groups; everything else is rounded (again). `auto`: what the folder says it is.
   */
  readonly from?: SourceFormat | undefined;
  /** Folder of a LoRA adapter of PEFT that is merged into the source before it is rounded. */
  readonly lora?: string | undefined;
  /** Weights that share a scale. Default 128; with `from` the groups of the source, where they are possible. */
  readonly groupSize?: QuantizeGroupSize | undefined;
  /** Default bf16: the head decides close calls, and is a small part of a large model. */
  readonly lmHead?: LmHeadPrecision | undefined;
  /** `rtn` (default): rounding to nearest. `awq`: activation-aware, calibrated with pictures. */
  readonly method?: QuantizeMethod | undefined;
  /**
   * For `awq`: a folder of pictures, or a `.jsonl` file of pictures with prompts and answers (see `readCalibration`), or
   * scenes that are ready. Default: `evaluation/scenes.jsonl` beside the source, as the demo model has it.
   */
  readonly calibrate?: string | readonly CalibrationScene[] | undefined;
  /** For `awq`. Default: the number of physical cores. */
  readonly threads?: number | undefined;
}

export interface QuantizeResult extends QuantizeTally {
  readonly directory: string;
  readonly method: QuantizeMethod;
  readonly groupSize: number;
  readonly lmHead: LmHeadPrecision;
  /** Linears whose integers were kept as the source has them. */
  readonly keptLinears: number;
  /** Weights of the result; `sourceBytes` are those of the source. */
  readonly sizeBytes: number;
}

/**
 * Quantises a checkpoint into another Hugging Face folder (compressed-tensors `pack-quantized`, readable by vLLM):
 * int4 linears of the text decoder, lm_head as wished; vision, projector, embeddings and norms in 16 bit. Tokenizer, templates, licences
 * and scenebus.json come along. Same source and options, same bytes. Memory stays bounded whatever the size of the
 * model. After a kill, an abort or trouble with the disk the same call goes on where it was; a source that turns out to
 * be damaged leaves nothing.
 *
 * @throws SdkError ERR_MODEL_* when the source is not sound; ERR_ARGUMENT_INVALID for a used folder, one that may not be
 *   written, a group size that does not fit, or no calibration pictures; ERR_LICENSE_NOT_ACCEPTED; ERR_DISK_FULL, before
 *   the first byte where it can be known; ERR_PREPARE_LOCKED when another process makes the same output
 *
 * @example
 * await quantizeCheckpoint({ source: 'models/demo', output: 'models/demo-int4', groupSize: 128 });
 */
export async function quantizeCheckpoint(options: QuantizeOptions): Promise<QuantizeResult> {
  const { signal, lmHead = 'bf16', method = 'rtn' } = options;
  signal?.throwIfAborted();
  requireOptions(options.groupSize ?? 128, lmHead, method);
  if (method === 'awq' && (options.from !== undefined || options.lora !== undefined)) {
    const what = options.from !== undefined ? 'a folder of another format' : 'a LoRA';
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected the method rtn with ${what}: calibration runs the model, which needs plain weights. ${options.from === undefined ? 'Merge first (`scenebus merge-lora`), then calibrate.' : ''}`.trimEnd(),
    );
  }
  const { plan, sizeBytes, ...tally } = await makeFolder(options.source, options, () =>
    makePlan(options, lmHead, method),
  );
  const keptLinears = plan.files.flatMap(({ tensors }) => tensors).filter(({ part }) => part === 'exactPacked').length;
  const { groupSize } = plan;
  return { directory: resolve(options.output), method, groupSize, lmHead, keptLinears, sizeBytes, ...tally };
}

async function makePlan(
  options: QuantizeOptions,
  lmHead: LmHeadPrecision,
  method: QuantizeMethod,
): Promise<FolderPlan> {
  const { signal, from, logger = silentLogger, shardBytes = DEFAULT_SHARD_BYTES } = options;
  const opened = await (from === undefined
    ? openPlainSource(options.source, { signal })
    : openForeignSource(options.source, from, { signal }));
  const adapter = options.lora === undefined ? undefined : await openAdapter(options.lora, opened.architecture);
  const source = adapter === undefined ? opened : withAdapter(opened, adapter);
  const groupSize = options.groupSize ?? groupSizeOf(source);
  const files = planFiles(planTensors(source.tensors, groupSize, lmHead, method), shardBytes);
  const { checkpoint } = source;
  const scenes = method === 'awq' ? await calibrationScenes(checkpoint!, options.calibrate, logger) : [];
  return {
    source,
    ...(options.lora === undefined ? {} : { alsoRead: [options.lora] }),
    files,
    groupSize,
    phase: 'quantize',
    calibrationBytes: calibrationBytes(source.architecture, files, scenes.length),
    key: async () => {
      const pictures = await pictureDigests(scenes, options);
      const calibrated = scenes.map(({ samples }, index) => [
        pictures[index],
        samples.map(({ tokens, imageTokenIndex }) => [imageTokenIndex, ...tokens]),
      ]);
      return [groupSize, lmHead, method, from ?? null, adapter?.contentHash ?? null, calibrated];
    },
    ...(method === 'awq'
      ? {
          adjust: (workDirectory: string) =>
            calibrate(checkpoint!, scenes, { ...options, groupSize, lmHead, workDirectory }),
        }
      : {}),
    config: (config) => {
      // Float32 tensors became bfloat16; both spellings of the field are in use.
      for (const part of [config, config.text_config, config.vision_config] as (
        | Record<string, unknown>
        | undefined
      )[]) {
        for (const key of ['torch_dtype', 'dtype']) if (part?.[key] === 'float32') part[key] = 'bfloat16';
      }
      return { ...config, quantization_config: quantizationConfig(groupSize, lmHead) };
    },
  };
}

/** The groups that most linears of the source have, or the largest within them, so that their integers can be kept. */
function groupSizeOf({ tensors }: Source): QuantizeGroupSize {
  const counts = new Map<number, number>();
  for (const { packedGroup } of tensors.values()) {
    if (packedGroup !== undefined) counts.set(packedGroup, (counts.get(packedGroup) ?? 0) + 1);
  }
  const [most] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [128];
  return QUANTIZE_GROUP_SIZES.toReversed().find((size) => most! % size === 0) ?? 128;
}

/** What calibration writes at most before the weights: what the pictures became, and the linears it decided. */
function calibrationBytes(architecture: MllamaArchitecture, files: readonly OutputFile[], pictures: number): number {
  if (pictures === 0) return 0;
  const decided = files
    .flatMap(({ tensors }) => tensors)
    .filter(({ part, bits }) => bits === 4 && (part === 'packed' || part === 'scale'))
    .reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  return decided + picturesBytes(architecture, pictures);
}

function requireOptions(groupSize: number, lmHead: string, method: string): void {
  if (!(QUANTIZE_GROUP_SIZES as readonly number[]).includes(groupSize)) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a group size of 32, 64 or 128, but received ${groupSize}.`);
  }
  if (!(LM_HEAD_PRECISIONS as readonly string[]).includes(lmHead)) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected lm_head as bf16, int8 or int4, but received ${lmHead}.`);
  }
  if (method !== 'rtn' && method !== 'awq') {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected the method rtn or awq, but received ${method}.`);
  }
}
