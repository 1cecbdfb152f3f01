/** `scenebus quantize SOURCE OUTPUT …` without the terminal: words to options, a result to words. */
import { SdkError } from '#sdk/core/errors.js';
import type { MergeLoraResult } from './lora/merge.js';
import { SOURCE_FORMATS } from './option-values.js';
import { LM_HEAD_PRECISIONS } from './plan.js';
import { QUANTIZE_GROUP_SIZES, type QuantizeOptions, type QuantizeResult } from './quantize.js';

/** As a command line parser delivers them. */
export interface QuantizeFlags {
  readonly group?: string | number | undefined;
  readonly from?: string | undefined;
  readonly lora?: string | undefined;
  readonly method?: string | undefined;
  readonly calibrate?: string | undefined;
  readonly lmHead?: string | undefined;
  readonly acceptLlamaLicense?: boolean | undefined;
}

/** @throws SdkError ERR_ARGUMENT_INVALID */
export function quantizeOptionsFrom(source: string, output: string, flags: QuantizeFlags): QuantizeOptions {
  const groupSize = QUANTIZE_GROUP_SIZES.find((size) => size === Number(flags.group));
  if (flags.group !== undefined && groupSize === undefined) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected --group 32, 64 or 128, but received "${flags.group}".`);
  }
  const lmHead = LM_HEAD_PRECISIONS.find((form) => form === (flags.lmHead ?? 'bf16'));
  if (lmHead === undefined) {
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected --lm-head bf16, int8 or int4, but received "${flags.lmHead}".`,
    );
  }
  const method = flags.method ?? 'rtn';
  if (method !== 'rtn' && method !== 'awq') {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected --method rtn or awq, but received "${flags.method}".`);
  }
  if (flags.calibrate !== undefined && method !== 'awq') {
    throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected --method awq with --calibrate: rounding needs no pictures.');
  }
  const from = SOURCE_FORMATS.find((format) => format === flags.from);
  if (flags.from !== undefined && from === undefined) {
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected --from ${SOURCE_FORMATS.join(', ')}, but received "${flags.from}".`,
    );
  }
  const { calibrate, lora, acceptLlamaLicense } = flags;
  return { source, output, from, lora, groupSize, lmHead, method, calibrate, acceptLlamaLicense };
}

/** What a person types to accept a licence: more than a key that is hit by accident. */
const ACCEPTANCE = 'I accept';

/** Asks on a terminal. */
export function licenceQuestion(ask: (question: string) => Promise<string>): () => Promise<boolean> {
  return async () => {
    const answer = await ask(
      `Type "${ACCEPTANCE}" when you have read the licence and its use policy and accept both: `,
    );
    return answer.trim().toLowerCase() === ACCEPTANCE.toLowerCase();
  };
}

export function formatQuantizeResult(result: QuantizeResult): string {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  const kept =
    result.keptLinears > 0 ? [`  ${result.keptLinears} of them as the source has them, nothing rounded`] : [];
  const linearsIn4Bits = result.quantizedLinears - (result.lmHead === 'int8' ? 1 : 0);
  return [
    `${result.directory}`,
    `  ${linearsIn4Bits} linears in int4 (${result.method}), groups of ${result.groupSize}; lm_head in ${result.lmHead}`,
    ...kept,
    `  ${megabytes(result.sourceBytes)} → ${megabytes(result.sizeBytes)}`,
    `  relative error of the quantised weights ${(result.relativeError * 100).toFixed(2)} %`,
  ].join('\n');
}

export function formatMergeResult({ directory, mergedLinears, replacedTensors, sizeBytes }: MergeLoraResult): string {
  const replaced = replacedTensors > 0 ? `, ${replacedTensors} tensors replaced` : '';
  return `${directory}\n  ${mergedLinears} weights merged${replaced}; ${(sizeBytes / 1e6).toFixed(1)} MB`;
}
