/** What goes over the API about the calibration of a camera's lens. */
import { z } from 'zod';

const boardText = z
  .string()
  .regex(/^(chessboard|charuco):\d{1,2}x\d{1,2}$/, 'Expected a board such as charuco:7x5 or chessboard:9x6')
  .default('charuco:7x5');
const squareMillimetres = z.number().min(1).max(1_000).default(30);
const share = z.number().min(0).max(1);
const count = z.int().min(0);

export const boardQuery = z.strictObject({
  board: boardText,
  squareMillimetres: z.coerce.number().min(1).max(1_000).default(30),
});
export const lensStartSchema = z.strictObject({
  /** `charuco:7x5` counts squares, `chessboard:9x6` inner corners. */
  board: boardText,
  squareMillimetres,
  lens: z.enum(['pinhole', 'wide', 'fisheye']).default('pinhole'),
});

export const lensProgressSchema = z.strictObject({
  /** false: it was stopped, or nobody asked for half a minute. */
  isLooking: z.boolean(),
  pictures: count,
  /** Pictures that were taken. */
  views: count,
  /** The picture in parts, row by row from the top left, and how many corners of the board were seen in each. */
  rows: count,
  columns: count,
  corners: z.array(count),
  covered: share,
  tilted: count,
  isEnough: z.boolean(),
  /** One sentence: what to do next. */
  guidance: z.string(),
  /** Pictures that were not taken, by reason. */
  refused: z.partialRecord(z.enum(['no-board', 'blurred', 'alike', 'size', 'full']), count),
  /** The last picture was. */
  taken: z.boolean(),
  /** Corners of the board in the last picture; they may lie a little outside. */
  points: z.array(z.strictObject({ x: z.number(), y: z.number() })),
});
export type LensProgress = z.infer<typeof lensProgressSchema>;

export const lensResultSchema = z.strictObject({
  width: count,
  height: count,
  fx: z.number(),
  fy: z.number(),
  /** Standard deviation of `fx`, pixels; null: not known. */
  fxSigma: z.number().nullable(),
  distortionModel: z.string(),
  /** Of the distances between corners as seen and as computed. */
  rmsPixels: z.number(),
  views: count,
  leftOut: count,
  warnings: z.array(z.string()),
  /** ROS's camera_info, YAML. */
  cameraInfo: z.string(),
});
export type LensResult = z.infer<typeof lensResultSchema>;
