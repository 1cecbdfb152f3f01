/**
 * Calibrations as ROS keeps them: the YAML of `sensor_msgs/CameraInfo`, as camera_calibration_parsers reads and writes it
 * (wiki.ros.org/camera_calibration_parsers), and the same as JSON.
 */
import { Document, isMap, isSeq, parse, visit } from 'yaml';
import { z } from 'zod';
import { SdkError } from '../core/errors.js';
import { type CameraLens, DISTORTION_COEFFICIENTS, type DistortionModel } from './lens.js';

const finite = z.number().min(-1e9).max(1e9);
const side = z.int().min(1).max(65_536);

function matrix(rows: number, columns: number) {
  return z.object({
    rows: z.literal(rows),
    cols: z.literal(columns),
    data: z.array(finite).length(rows * columns),
  });
}

const accuracySchema = z.object({
  fx: finite.min(0),
  fy: finite.min(0),
  cx: finite.min(0),
  cy: finite.min(0),
  rms: finite.min(0),
});

/** Loose: tools add fields of their own. */
const cameraInfoSchema = z
  .looseObject({
    image_width: side,
    image_height: side,
    camera_name: z.string().optional(),
    camera_matrix: matrix(3, 3),
    distortion_model: z.enum(Object.keys(DISTORTION_COEFFICIENTS) as [DistortionModel, ...DistortionModel[]]),
    distortion_coefficients: z.object({ rows: z.int(), cols: z.int(), data: z.array(finite).max(14) }),
    rectification_matrix: matrix(3, 3).optional(),
    accuracy_pixels: accuracySchema.optional(),
  })
  .refine(({ camera_matrix: { data } }) => (data[0] ?? 0) > 0 && (data[4] ?? 0) > 0, {
    error: 'Expected positive focal lengths: a file of zeros stands for a camera that was never calibrated',
    path: ['camera_matrix', 'data'],
  })
  .refine(({ camera_matrix: { data } }) => data[1] === 0 && data[3] === 0, {
    error: 'Expected no skew',
    path: ['camera_matrix', 'data'],
  });

/**
 * Reads a calibration in YAML or JSON.
 * @param text contents of the file
 * @param name for messages
 * @throws SdkError ERR_CONFIG_INVALID
 */
export function parseCameraInfo(text: string, name = 'the calibration'): CameraLens {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 10 });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SdkError('ERR_CONFIG_INVALID', `Expected YAML or JSON in ${name}, but it does not parse: ${reason}`, {
      cause,
    });
  }
  const checked = cameraInfoSchema.safeParse(value);
  if (!checked.success) {
    const [issue] = checked.error.issues;
    const where = issue?.path.join('.') ?? '';
    throw new SdkError(
      'ERR_CONFIG_INVALID',
      `Expected a calibration as ROS writes it (camera_info) in ${name}, but ${where === '' ? 'it' : where} is not: ${issue?.message}`,
      { details: { issues: checked.error.issues.map(({ path, message }) => ({ path: path.join('.'), message })) } },
    );
  }
  const info = checked.data;
  const [fx = 0, , cx = 0, , fy = 0, cy = 0] = info.camera_matrix.data;
  const count = DISTORTION_COEFFICIENTS[info.distortion_model];
  const given = info.distortion_coefficients.data;
  if (given.length < Math.min(count, 4) || given.slice(count).some((coefficient) => coefficient !== 0))
    throw new SdkError(
      'ERR_CONFIG_INVALID',
      `Expected ${count} coefficients of the model ${info.distortion_model} in ${name}, but there are ${given.length}.`,
    );
  const distortion = Array.from({ length: count }, (_, i) => given[i] ?? 0);
  return {
    width: info.image_width,
    height: info.image_height,
    fx,
    fy,
    cx,
    cy,
    distortionModel: info.distortion_model,
    distortion,
    accuracy: info.accuracy_pixels,
  };
}

/** The fields of `camera_info`; `accuracy_pixels` is ours, and readers of ROS pass over it. */
function cameraInfoOf(lens: CameraLens, cameraName: string): object {
  const { width, height, fx, fy, cx, cy, distortionModel, distortion, accuracy } = lens;
  return {
    image_width: width,
    image_height: height,
    camera_name: cameraName,
    camera_matrix: { rows: 3, cols: 3, data: [fx, 0, cx, 0, fy, cy, 0, 0, 1] },
    distortion_model: distortionModel,
    distortion_coefficients: { rows: 1, cols: distortion.length, data: [...distortion] },
    rectification_matrix: { rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1] },
    projection_matrix: { rows: 3, cols: 4, data: [fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0] },
    ...(accuracy === undefined ? {} : { accuracy_pixels: accuracy }),
  };
}

/**
 * A calibration as YAML or JSON that `parseCameraInfo` and ROS read.
 * @param cameraName letters, digits and `_`, as ROS wants them; others become `_`
 */
export function formatCameraInfo(lens: CameraLens, cameraName: string, format: 'yaml' | 'json' = 'yaml'): string {
  const info = cameraInfoOf(lens, cameraName.replace(/[^A-Za-z0-9_]/g, '_'));
  return format === 'json' ? `${JSON.stringify(info, undefined, 2)}\n` : asYaml(info);
}

/** With each list of numbers on one line, as ROS writes them. */
function asYaml(info: object): string {
  const document = new Document(info);
  visit(document, {
    Collection(_, node) {
      if (isSeq(node) && !isMap(node)) node.flow = true;
    },
  });
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}
