/** `quantization_config` in the compressed-tensors convention: what of it this product can run, said clearly. */

import { z } from 'zod';
import type { Int4Scheme } from '#graph/architecture.js';
import { SdkError } from '../core/errors.js';

export const GROUP_SIZES = [32, 64, 128] as const;

const weightsSchema = z.looseObject({
  num_bits: z.int(),
  type: z.string().default('int'),
  symmetric: z.boolean().default(true),
  strategy: z.string().nullish(),
  group_size: z.int().nullish(),
  actorder: z.unknown().optional(),
});

const quantizationSchema = z.looseObject({
  quant_method: z.string(),
  format: z.string().optional(),
  config_groups: z
    .record(
      z.string(),
      z.looseObject({
        weights: weightsSchema.nullish(),
        input_activations: z.unknown().optional(),
        format: z.string().nullish(),
      }),
    )
    .optional(),
});

/** @throws SdkError ERR_MODEL_UNSUPPORTED for another method or scheme, ERR_MODEL_INVALID for a malformed one. */
export function int4SchemeOf(config: unknown): Int4Scheme | null {
  if (config === null || config === undefined) return null;
  const parsed = quantizationSchema.safeParse(config);
  if (!parsed.success) {
    throw new SdkError(
      'ERR_MODEL_INVALID',
      `config.json: quantization_config is not as expected:\n${z.prettifyError(parsed.error)}`,
      { details: { problems: parsed.error.issues.map((issue) => issue.message) } },
    );
  }
  const { quant_method: method, format, config_groups: groups } = parsed.data;
  if (method !== 'compressed-tensors') {
    throw unsupported(`method "${method}"`, method);
  }
  const schemes = Object.values(groups ?? {});
  if (schemes.length === 0) throw unsupported('no config_groups', method);
  let groupSize: number | undefined;
  for (const scheme of schemes) {
    const { weights } = scheme;
    const schemeFormat = scheme.format ?? format;
    if (schemeFormat !== 'pack-quantized') throw unsupported(`format "${schemeFormat}"`, schemeFormat);
    if (weights == null) throw unsupported('a group without weights', null);
    if (scheme.input_activations != null) throw unsupported('quantised activations', scheme.input_activations);
    if (weights.num_bits !== 4 || weights.type !== 'int') {
      throw unsupported(`${weights.num_bits}-bit ${weights.type} weights`, weights.num_bits);
    }
    if (!weights.symmetric) throw unsupported('asymmetric weights (zero points)', weights.symmetric);
    if (weights.actorder != null && weights.actorder !== false && weights.actorder !== 'static') {
      throw unsupported(`activation order "${String(weights.actorder)}" (weight_g_idx)`, weights.actorder);
    }
    const strategy = weights.strategy ?? (weights.group_size ? 'group' : 'channel');
    if (strategy !== 'group') {
      throw unsupported(`one scale per ${strategy} (strategy "${strategy}")`, strategy);
    }
    if (!(GROUP_SIZES as readonly number[]).includes(weights.group_size ?? 0)) {
      throw unsupported(`group size ${weights.group_size}`, weights.group_size);
    }
    if (groupSize !== undefined && groupSize !== weights.group_size) {
      throw unsupported(`two group sizes (${groupSize} and ${weights.group_size})`, [groupSize, weights.group_size]);
    }
    groupSize = weights.group_size!;
  }
  return { bits: 4, groupSize: groupSize! };
}

function unsupported(what: string, received: unknown): SdkError {
  return new SdkError(
    'ERR_MODEL_UNSUPPORTED',
    `config.json: quantization_config has ${what}. Supported: compressed-tensors "pack-quantized", symmetric 4-bit integers in groups of ${GROUP_SIZES.join(', ')}, weights only. Quantise the 16-bit checkpoint with \`scenebus quantize\`.`,
    { details: { received } },
  );
}
