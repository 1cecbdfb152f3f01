/** `detector.json`: what an ONNX file of a detector cannot say of itself. */
import { basename } from 'node:path';
import { z } from 'zod';
import { readJsonFile } from '../checkpoint/json-file.js';
import { SdkError } from '../core/errors.js';

const unit = z.number().min(0).max(1);
const file = z.string().regex(/^[\w][\w.-]*$/, 'Expected the name of a file beside detector.json');
const tensor = z.string().min(1).max(200);
const three = z.tuple([z.number(), z.number(), z.number()]);
const positive = z.number().positive();

const inputSchema = z.strictObject({
  /** Name of the input tensor, float32 [1, 3, height, width]. */
  tensor,
  width: z.int().min(16).max(4096),
  height: z.int().min(16).max(4096),
  channels: z.enum(['rgb', 'bgr']).default('rgb'),
  /** `stretch`; `letterbox`: the shape kept, filled around; `letterbox-top-left`: filled at the right and below. */
  resize: z.enum(['stretch', 'letterbox', 'letterbox-top-left']).default('letterbox'),
  /** Byte beside a letterboxed picture. */
  fill: z.int().min(0).max(255).default(114),
  /** (byte · scale − mean) / std. */
  scale: positive.default(1 / 255),
  mean: three.default([0, 0, 0]),
  std: z.tuple([positive, positive, positive]).default([1, 1, 1]),
});

const boxFields = {
  box: z.enum(['cxcywh', 'xyxy']).default('cxcywh'),
  /** Of the input: fractions of its sides or its pixels. */
  unit: z.enum(['fraction', 'pixels']),
};
const outputSchema = z.discriminatedUnion('layout', [
  /** Two tensors: [1, queries, labels] and [1, queries, 4]. `softmax` has one more value, the last, for no object. */
  z.strictObject({
    layout: z.literal('detr'),
    scores: tensor,
    boxes: tensor,
    activation: z.enum(['sigmoid', 'softmax', 'none']).default('sigmoid'),
    ...boxFields,
  }),
  /** One tensor: a row has a box, then with `objectness` how sure it is that there is a thing, then the labels. */
  z.strictObject({
    layout: z.literal('yolo'),
    tensor,
    /** `rows`: [1, anchors, values]; `columns`: [1, values, anchors]. */
    order: z.enum(['rows', 'columns']),
    objectness: z.boolean().default(false),
    activation: z.enum(['sigmoid', 'none']).default('none'),
    ...boxFields,
  }),
]);

/** What `detector.json` holds. */
export const detectorSchema = z.strictObject({
  name: z.string().min(1).max(200).optional(),
  model: file.default('model.onnx'),
  labels: z.array(z.string().min(1).max(200)).min(1).max(10_000),
  input: inputSchema,
  output: outputSchema,
  /** Less sure boxes are left out. */
  minScore: unit.default(0.3),
  maxBoxes: z.int().min(1).max(300).default(50),
  /** Of boxes that overlap by more only the surest stays: of one label, or of all. */
  suppression: z
    .strictObject({ iou: unit.default(0.5), across: z.enum(['label', 'all']).default('label') })
    .prefault({}),
  /** How scores become probabilities: logit(score) / temperature + bias. `scenebus calibrate-scores --detector` writes it. */
  scores: z
    .strictObject({ temperature: positive.max(1000), bias: z.number().min(-100).max(100).default(0) })
    .optional(),
  /** A picture in the folder and what must be found in it. */
  selfTest: z.strictObject({
    picture: file,
    minIou: unit.default(0.7),
    objects: z
      .array(z.strictObject({ label: z.string(), box: z.tuple([unit, unit, unit, unit]) }))
      .min(1)
      .max(100),
  }),
});
/** A detector as its folder describes it. */
export type DetectorManifest = z.output<typeof detectorSchema>;

/** @throws SdkError ERR_MODEL_NOT_FOUND, ERR_MODEL_INVALID naming every field that is wrong */
export async function readDetectorManifest(directory: string): Promise<DetectorManifest> {
  const manifest = await readJsonFile(directory, 'detector.json', detectorSchema);
  if (manifest === undefined) {
    const message = `Expected detector.json in ${directory} beside the detector's ONNX file, but there is none. It says input size, normalisation, labels and output layout.`;
    throw new SdkError('ERR_MODEL_NOT_FOUND', message, { details: { directory } });
  }
  const unknown = manifest.selfTest.objects.find(({ label }) => !manifest.labels.includes(label));
  if (unknown !== undefined) {
    const message = `Expected the self-test of ${basename(directory)} to look for labels of the detector but received ${JSON.stringify(unknown.label)}, which is not in labels.`;
    throw new SdkError('ERR_MODEL_INVALID', message, { details: { label: unknown.label } });
  }
  return manifest;
}
