import { watchDefinitionSchema } from 'scenebus/bus';
import { cameraOptionsSchema } from 'scenebus/service';
import { z } from 'zod';
import { descriptionSettings, filePath, prompt } from './fields.js';

const unit = z.number().min(0).max(1);
const angle = z.number().min(-180).max(180).default(0);
const metres = z.number().min(-1_000).max(1_000).default(0);

const mountingSchema = z
  .strictObject({
    heightMetres: z.number().min(0.01).max(1_000).meta({ title: 'Height above the floor, metres' }),
    forwardMetres: metres.meta({ title: "Before the base's origin, metres" }),
    leftMetres: metres.meta({ title: "To the left of the base's origin, metres" }),
    pitchDegrees: angle.meta({ title: 'Tilt, degrees', description: 'Positive: looks down' }),
    rollDegrees: angle.meta({ title: 'Roll, degrees', description: 'Positive: its right side lower' }),
    yawDegrees: angle.meta({ title: 'Yaw, degrees', description: 'Positive: turned to the left' }),
    angleSigmaDegrees: z.number().min(0).max(45).default(0.5).meta({
      title: 'Uncertainty of the angles, degrees',
      description: 'Standard deviation',
    }),
    heightSigmaMetres: z.number().min(0).max(10).default(0.01).meta({
      title: 'Uncertainty of the height, metres',
      description: 'Standard deviation',
    }),
  })
  .meta({
    title: 'Mounting',
    description:
      'How the camera is mounted on its base (REP 103 and 105 of ROS). With `intrinsics` it gives bearings against the base, and where things stand on the floor',
  });

export const cameraSchema = cameraOptionsSchema
  .omit({ requireFirstFrame: true })
  .extend({
    id: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/, 'Expected letters, digits, _ and -, at most 64 characters')
      .meta({ title: 'Camera id', description: 'Its name in topics' }),
    address: z
      .string({
        error: ({ input }) =>
          typeof input === 'number' ? `Expected text, but received the number ${input}: write "${input}"` : undefined,
      })
      .min(1)
      .max(2_048)
      .meta({
        title: 'Address',
        description: '0, /dev/video0, csi:0, rtsp://…, http://…, a clip or a folder of images (relative to this file)',
      }),
    describe: z
      .boolean()
      .default(true)
      .meta({ title: 'Describe', description: 'false: this camera only answers questions' }),
    prompt: prompt
      .optional()
      .meta({ title: 'What a description is asked for', description: 'Left out: as in `describe`' }),
    minIntervalSeconds: descriptionSettings.minIntervalSeconds.optional().meta({
      title: 'Shortest pause between descriptions',
      description: 'Left out: as in `describe`',
    }),
    maxSilenceSeconds: descriptionSettings.maxSilenceSeconds
      .optional()
      .meta({ title: 'Longest silence', description: 'Left out: as in `describe`' }),
    change: z
      .strictObject({ mean: descriptionSettings.level.optional(), block: descriptionSettings.level.optional() })
      .optional()
      .meta({ title: 'Change that counts', description: 'What is left out: as in `describe`' }),
    schedule: watchDefinitionSchema.shape.schedule.meta({
      title: 'Hours',
      description:
        'In the local time of the device; outside of them this camera is not described. `to` before `from` reaches into the next day. Left out: always',
    }),
    masks: z
      .array(
        z
          .array(z.tuple([unit, unit]))
          .min(3)
          .max(64),
      )
      .max(32)
      .default([])
      .meta({
        title: 'Privacy masks',
        description:
          'Polygons of corners [x, y] from 0 to 1 (left, top to right, bottom of the picture after size and rotation): filled with grey before anything else sees a picture',
      }),
    intrinsics: filePath.optional().meta({
      title: 'Calibration',
      description:
        "ROS's camera_info, YAML or JSON, as scenebus calibrate-camera writes it; relative to this file. For pictures after size and rotation, or such of the same shape. Gives every box a bearing",
    }),
    mounting: mountingSchema.optional(),
  })
  .meta({ title: 'Camera' });
