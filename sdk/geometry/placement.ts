/** What a caller says of a camera, checked before a model is asked anything. */
import { z } from 'zod';
import { SdkError } from '../core/errors.js';
import { type CameraPlacement, locateObjects } from './bearing.js';
import { DISTORTION_COEFFICIENTS, type DistortionModel } from './lens.js';

const finite = z.number().min(-1e9).max(1e9);
const positive = finite.gt(0);
const sigma = finite.min(0);
const side = z.int().min(1).max(65_536);
const angle = z.number().min(-180).max(180).optional();

const placementSchema = z.strictObject({
  lens: z
    .strictObject({
      width: side,
      height: side,
      fx: positive,
      fy: positive,
      cx: finite,
      cy: finite,
      distortionModel: z.enum(Object.keys(DISTORTION_COEFFICIENTS) as [DistortionModel, ...DistortionModel[]]),
      distortion: z.array(finite),
      accuracy: z.strictObject({ fx: sigma, fy: sigma, cx: sigma, cy: sigma, rms: sigma }).optional(),
    })
    .refine(({ distortionModel, distortion }) => distortion.length === DISTORTION_COEFFICIENTS[distortionModel], {
      error: ({ input }) => {
        const model = (input as { distortionModel: DistortionModel }).distortionModel;
        return `Expected ${DISTORTION_COEFFICIENTS[model]} coefficients of ${model}`;
      },
      path: ['distortion'],
    }),
  mounting: z
    .strictObject({
      heightMetres: positive.max(1_000),
      forwardMetres: finite.optional(),
      leftMetres: finite.optional(),
      yawDegrees: angle,
      pitchDegrees: angle,
      rollDegrees: angle,
      angleSigmaDegrees: z.number().min(0).max(45).optional(),
      heightSigmaMetres: z.number().min(0).max(10).optional(),
    })
    .optional(),
});

/**
 * @param name of the option, for messages
 * @throws SdkError ERR_ARGUMENT_INVALID with the place of what is wrong
 */
export function checkPlacement(value: unknown, name: string): CameraPlacement {
  const checked = placementSchema.safeParse(value);
  if (checked.success) return value as CameraPlacement;
  const [issue] = checked.error.issues;
  const where = [name, ...(issue?.path ?? [])].join('.');
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected ${name} as { lens, mounting? } (parseCameraInfo reads a lens), but ${where} does not fit: ${issue?.message}.`,
    { details: { option: name, path: where } },
  );
}

/** @throws SdkError ERR_CONFIG_INVALID for a lens that is for pictures of another shape */
export function requireFitting(placement: CameraPlacement, frame: { readonly width: number; readonly height: number }) {
  locateObjects([], frame, placement);
}
