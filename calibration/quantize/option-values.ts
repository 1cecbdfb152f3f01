/** What options may be, apart from the code that they steer: a command's `--help` reads them and loads nothing else. */

/** More than this costs time and tells no more; also the bound of what lies in memory while calibrating. */
export const MAX_SCENES = 64;
export const MAX_QUESTIONS = 8;

/** `scenebus quantize --from`: `CONVERTIBLE_FORMATS` of `#sdk/checkpoint`, and `auto`. */
export const SOURCE_FORMATS = ['auto', 'mlx', 'awq', 'gptq', 'compressed-tensors'] as const;

export const MERGE_TYPES = ['same', 'f32', 'bf16'] as const;
export type MergeType = (typeof MERGE_TYPES)[number];
