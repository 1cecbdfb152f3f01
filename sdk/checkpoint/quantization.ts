/** `quantization_config` in the compressed-tensors convention: what of it this product can run, said clearly. */

import { z } from 'zod';
import type { Int4Scheme } from '../architecture/architecture.js';
import { SdkError } from '../core/errors.js';
import { NamePatterns } from './name-patterns.js';

const GROUP_SIZES = [32, 64, 128] as const;
/** What a target begins with that is a regular expression. */
const EXPRESSION = 're:';

/** How a linear's weights are packed. */
export interface WeightScheme {
  readonly bits: 4 | 8;
  /** Inputs that share a scale; 0: one scale for each output (strategy "channel"). */
  readonly groupSize: number;
  /** With zero points; only when they were asked for. */
  readonly asymmetric?: true;
}

export interface Quantization {
  readonly int4: Int4Scheme;
  /** The scheme whose targets name a module, by any of its names; undefined when none does. */
  schemeOf(moduleNames: readonly string[]): WeightScheme | undefined;
}

interface Target {
  /** A name, `re:` and a regular expression, or a class of modules. */
  readonly text: string;
  readonly scheme: WeightScheme;
}

const weightsSchema = z.looseObject({
  num_bits: z.int(),
  type: z.string().default('int'),
  symmetric: z.boolean().default(true),
  strategy: z.string().nullish(),
  group_size: z.int().nullish(),
  actorder: z.unknown().optional(),
  dynamic: z.unknown().optional(),
});

const quantizationSchema = z.looseObject({
  quant_method: z.string(),
  format: z.string().optional(),
  config_groups: z
    .record(
      z.string(),
      z.looseObject({
        targets: z.array(z.string()).nullish(),
        weights: weightsSchema.nullish(),
        input_activations: z.unknown().optional(),
        output_activations: z.unknown().optional(),
        format: z.string().nullish(),
      }),
    )
    .optional(),
  transform_config: z.unknown().optional(),
  sparsity_config: z.looseObject({ format: z.string().nullish() }).nullish(),
});

/** `convert`: zero points and reordered columns are read too, which no engine runs. */
export type QuantizationUse = 'run' | 'convert';

/** @throws SdkError ERR_MODEL_UNSUPPORTED for another method or scheme, ERR_MODEL_INVALID for a malformed one. */
export function quantizationOf(config: unknown, use: QuantizationUse = 'run'): Quantization | null {
  if (config === null || config === undefined) return null;
  const parsed = quantizationSchema.safeParse(config);
  if (!parsed.success) {
    throw malformed(
      `is not as expected:\n${z.prettifyError(parsed.error)}`,
      parsed.error.issues.map((issue) => issue.message),
    );
  }
  const { quant_method: method, format, config_groups: groups } = parsed.data;
  if (method !== 'compressed-tensors') {
    throw unsupported(`method "${method}"`, method);
  }
  const { transform_config: transforms, sparsity_config: sparsity } = parsed.data;
  // Rotations that run with the model: without them its numbers are others.
  if (!isEmpty(transforms)) throw unsupported('a transform_config (rotations at run time)', transforms);
  if (!isEmpty(sparsity) && sparsity?.format !== 'dense') {
    throw unsupported(`sparse weights (sparsity_config of format "${sparsity?.format}")`, sparsity);
  }
  const configGroups = Object.values(groups ?? {});
  if (configGroups.length === 0) throw unsupported('no config_groups', method);
  const targets: Target[] = [];
  let int4: Int4Scheme | undefined;
  for (const group of configGroups) {
    const { weights } = group;
    const groupFormat = group.format ?? format;
    if (groupFormat !== 'pack-quantized') throw unsupported(`format "${groupFormat}"`, groupFormat);
    if (weights == null) throw unsupported('a group without weights', null);
    for (const name of ['input_activations', 'output_activations'] as const) {
      if (group[name] != null) throw unsupported(`quantised activations (${name})`, group[name]);
    }
    const scheme = schemeOf(weights, use);
    if (scheme.bits === 4) {
      if (int4 !== undefined && int4.groupSize !== scheme.groupSize) {
        throw unsupported(`two group sizes (${int4.groupSize} and ${scheme.groupSize})`, [
          int4.groupSize,
          scheme.groupSize,
        ]);
      }
      int4 = { bits: 4, groupSize: scheme.groupSize };
    }
    for (const text of group.targets ?? ['Linear']) targets.push({ text, scheme });
  }
  if (int4 === undefined) throw unsupported('8-bit int weights alone', 8);
  const expressions = targets.filter(({ text }) => text.startsWith(EXPRESSION));
  const patterns = sound(
    expressions,
    () => new NamePatterns(expressions.map(({ text }) => text.slice(EXPRESSION.length))),
  );
  /** Names go before expressions and those before classes, whatever the order of the groups. */
  const targetOf = (names: readonly string[]) =>
    targets.find(({ text }) => names.includes(text)) ??
    expressions[sound(expressions, () => patterns.first(names))] ??
    targets.find(({ text }) => text === 'Linear');
  return { int4, schemeOf: (names) => targetOf(names)?.scheme };
}

/** Expressions as others wrote them may be none, or take forever. */
function sound<T>(expressions: readonly Target[], use: () => T): T {
  try {
    return use();
  } catch (cause) {
    const shown = expressions.slice(0, 8).map(({ text }) => `"${text.slice(0, 200)}"`);
    throw malformed(
      `has a target that is no usable regular expression: ${shown.join(', ')}: ${(cause as Error).message}.`,
      [String(cause)],
    );
  }
}

function schemeOf(weights: z.output<typeof weightsSchema>, use: QuantizationUse): WeightScheme {
  const { num_bits: bits, type, symmetric, actorder, group_size: size } = weights;
  if ((bits !== 4 && bits !== 8) || type !== 'int') throw unsupported(`${bits}-bit ${type} weights`, bits);
  const { dynamic } = weights;
  if (dynamic != null && dynamic !== false) throw unsupported(`weights.dynamic ${JSON.stringify(dynamic)}`, dynamic);
  if (!symmetric && use === 'run') throw unsupported('asymmetric weights (zero points)', symmetric, CONVERT);
  const zeroPoints = symmetric ? {} : ({ asymmetric: true } as const);
  // Columns that were only visited in another order ("weight", of old "static") lie in their own order.
  const isReordered = actorder != null && actorder !== false && actorder !== 'static' && actorder !== 'weight';
  if (isReordered && use === 'run') {
    throw unsupported(`activation order "${String(actorder)}" (weight_g_idx)`, actorder, CONVERT);
  }
  const strategy = weights.strategy ?? (size != null && size > 0 ? 'group' : 'channel');
  if (strategy === 'channel') return { bits, groupSize: 0, ...zeroPoints };
  if (strategy !== 'group') throw unsupported(`one scale per ${strategy} (strategy "${strategy}")`, strategy);
  const isKnown = use === 'convert' ? size != null && size > 0 : (GROUP_SIZES as readonly number[]).includes(size ?? 0);
  if (!isKnown) throw unsupported(`group size ${size}`, size, CONVERT);
  return { bits, groupSize: size!, ...zeroPoints };
}

/** Writers leave out what they have not, or give null, {} or a tree of them. */
function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined) return true;
  return typeof value === 'object' && Object.values(value).every(isEmpty);
}

function malformed(what: string, problems: readonly string[]): SdkError {
  return new SdkError('ERR_MODEL_INVALID', `config.json: quantization_config ${what}`, { details: { problems } });
}

const QUANTIZE = 'Quantise the 16-bit checkpoint with `scenebus quantize`.';
const CONVERT = '`scenebus quantize --from compressed-tensors` converts it.';

function unsupported(what: string, received: unknown, wayOut = QUANTIZE): SdkError {
  return new SdkError(
    'ERR_MODEL_UNSUPPORTED',
    `config.json: quantization_config has ${what}. Supported: compressed-tensors "pack-quantized", symmetric 4-bit integers (8-bit ones beside them), in groups of ${GROUP_SIZES.join(', ')} or by channel, weights only. ${wayOut}`,
    { details: { received } },
  );
}
