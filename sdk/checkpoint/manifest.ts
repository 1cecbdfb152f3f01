/**
 * `scenebus.json`: what a checkpoint folder cannot say in Hugging Face's files. Optional; every field has a default
 * that suits a general vision model.
 */
import { z } from 'zod';
import { readJsonFile } from './json-file.js';

/** How a model that was trained to write boxes writes them. */
export const boxConventionSchema = z.object({
  /** Objects with a label and a box, as JSON within the answer. */
  format: z.literal('json').default('json'),
  labelKey: z.string().min(1).default('label'),
  boxKey: z.string().min(1).default('box'),
  order: z.literal('xyxy').default('xyxy'),
  /** Coordinates are integers 0 … scale − 1 (`centre`) or 0 … scale (`edge`). */
  scale: z.int().min(2).max(100_000).default(100),
  /**
   * `longer-side`: both coordinates are fractions of the longer side of the image, origin top left.
   * `axis`: x of the width, y of the height.
   */
  relativeTo: z.enum(['longer-side', 'axis']).default('longer-side'),
  /** `centre`: integer q means (q + 0.5) / scale; `edge`: q / scale. */
  bin: z.enum(['centre', 'edge']).default('centre'),
  /**
   * Answers to the prompts `list` and `locate` below can be nothing but boxes: compact JSON, label before box. false: the
   * model writes other text around them, or spaces in them.
   */
  enforced: z.boolean().default(true),
});

const index = z.int().min(0).max(10_000);
const weight = z.number().min(-1_000).max(1_000);

/** Which heads look at what a prompt asks for, found by `scenebus calibrate-grounding`. */
export const attentionCalibrationSchema = z.object({
  /** The best first. */
  heads: z
    .array(z.object({ layer: index, head: index }))
    .min(1)
    .max(16)
    .refine((heads) => new Set(heads.map(({ layer, head }) => `${layer}:${head}`)).size === heads.length, {
      error: 'Expected each head once',
    }),
  /** A box ends where attention falls below this share of its peak. */
  threshold: z.number().min(0.01).max(0.99).default(0.15),
  /** A peak lower than this share of the highest is no second thing of the name. */
  leastPeak: z.number().min(0.01).max(1).default(0.5),
  /** How it is told that a thing is not there. Absent: never; every name gets a box. */
  presence: z
    .object({
      weights: z.object({ onPatches: weight, concentration: weight, peak: weight, agreement: weight }),
      bias: weight,
      threshold: z.number().min(0).max(1),
    })
    .optional(),
});
const scalingSchema = z.object({
  temperature: z.number().positive().max(1_000),
  bias: z.number().min(-100).max(100).default(0),
});
const verifiedSchema = z.object({
  score: z.number().min(0).max(1_000),
  yes: z.number().min(0).max(1_000),
  bias: z.number().min(-100).max(100).default(0),
  threshold: z.number().min(0).max(1).optional(),
});

/**
 * How scores become probabilities: measured by `scenebus calibrate-scores`. Of the boxes of each source, of those that
 * were verified, and of yes and no. What is left out stays as it is. `verified` takes scores as the scalings above have made
 * them, a detector's as its `detector.json` has; a box that is less probable than its `threshold` is refuted.
 */
export const scoresSchema = z.object({
  text: scalingSchema.optional(),
  attention: scalingSchema.optional(),
  yesNo: scalingSchema.optional(),
  verified: z
    .object({
      text: verifiedSchema.optional(),
      attention: verifiedSchema.optional(),
      detector: verifiedSchema.optional(),
    })
    .optional(),
});
/** The scalings of a model folder. */
export type ModelScores = z.output<typeof scoresSchema>;

export const manifestSchema = z.object({
  /** Name shown to people and on the bus; default: the folder's. */
  name: z.string().min(1).max(200).optional(),
  /** Absent: the model writes no boxes. */
  boxes: boxConventionSchema.optional(),
  /** Absent: where the model looks gives no boxes. */
  attention: attentionCalibrationSchema.optional(),
  prompts: z
    .object({
      describe: z.string().min(1).default('Describe what you see in this image in one or two sentences.'),
      list: z.string().min(1).default('List the objects that you can see in this image.'),
      /** `{label}` stands for what is looked for. */
      locate: z.string().includes('{label}').default('Where in this image is the {label}?'),
      /** Answered with yes or no; `a {label}` becomes `an {label}` before a vowel. */
      verify: z.string().includes('{label}').default('Is there a {label} in this image?'),
    })
    .prefault({}),
  scores: scoresSchema.optional(),
});

/** Heads that localise, and how their maps are read. */
export type AttentionCalibration = z.output<typeof attentionCalibrationSchema>;
export type BoxConvention = z.output<typeof boxConventionSchema>;
/** What a model folder says of itself in `scenebus.json`: prompts, and how it writes boxes. */
export type ModelManifest = z.output<typeof manifestSchema>;

/**
 * `scenebus.json` of a folder, or the defaults where there is none.
 * @throws SdkError ERR_MODEL_INVALID naming the field
 */
export async function readManifest(directory: string): Promise<ModelManifest> {
  return (await readJsonFile(directory, 'scenebus.json', manifestSchema)) ?? manifestSchema.parse({});
}
