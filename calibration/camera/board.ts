/** Boards that cameras are calibrated with. */
import { z } from 'zod';
import { SdkError } from '#sdk/core/errors.js';
import type { NativeBoard, NativeLayout } from './lens-addon.js';

export interface CalibrationBoard {
  readonly kind: 'chessboard' | 'charuco';
  /** Squares in all, black and white. */
  readonly columns: number;
  readonly rows: number;
  /** Side of a square. Only the ratio to `markerMillimetres` bears on the lens. */
  readonly squareMillimetres: number;
  /** Side of a marker with its black border; ChArUco only. */
  readonly markerMillimetres?: number | undefined;
  /** Name of one of OpenCV's dictionaries; ChArUco only. */
  readonly dictionary?: string | undefined;
  /**
   * Boards with an even number of rows look different from OpenCV 4.6 on (opencv_contrib issue 3291). `auto`: as it is
   * seen in the pictures.
   */
  readonly layout?: NativeLayout | 'auto' | undefined;
}

export interface BoardSettings {
  readonly squareMillimetres?: number | undefined;
  readonly markerMillimetres?: number | undefined;
  readonly dictionary?: string | undefined;
  readonly layout?: NativeLayout | 'auto' | undefined;
}

const DEFAULT_SQUARE_MM = 30;
/** As most boards are sold and drawn. */
const DEFAULT_MARKER_PART = 0.75;
const DEFAULT_DICTIONARY = 'DICT_5X5_100';

const boardSchema = z
  .strictObject({
    kind: z.enum(['chessboard', 'charuco']),
    columns: z.int().min(3).max(64),
    rows: z.int().min(3).max(64),
    squareMillimetres: z.number().min(0.1).max(10_000),
    markerMillimetres: z.number().positive().optional(),
    dictionary: z
      .string()
      .regex(/^DICT_[A-Za-z0-9_]{1,32}$/, 'Expected a name such as DICT_5X5_100')
      .optional(),
    layout: z.enum(['auto', 'current', 'legacy']).optional(),
  })
  .refine(({ markerMillimetres, squareMillimetres }) => (markerMillimetres ?? 0) < squareMillimetres, {
    error: 'Expected markers that are smaller than the squares',
    path: ['markerMillimetres'],
  });

/**
 * `chessboard:9x6` (inner corners, as OpenCV and ROS count them) or `charuco:7x5` (squares, as those count them there).
 * @throws SdkError ERR_ARGUMENT_INVALID
 */
export function parseBoard(text: string, settings: BoardSettings = {}): CalibrationBoard {
  const match = /^(chessboard|charuco):(\d{1,2})x(\d{1,2})$/.exec(text);
  if (match === null)
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected a board such as chessboard:9x6 (inner corners) or charuco:7x5 (squares), but got ${text}.`,
    );
  const isCharuco = match[1] === 'charuco';
  const { squareMillimetres = DEFAULT_SQUARE_MM, markerMillimetres, dictionary, layout } = settings;
  if (!isCharuco && (markerMillimetres ?? dictionary ?? layout) !== undefined)
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      'Expected size of markers, dictionary and layout for a ChArUco board only: a chessboard has no markers.',
    );
  const more = isCharuco ? 0 : 1;
  return requireBoard({
    kind: isCharuco ? 'charuco' : 'chessboard',
    columns: Number(match[2]) + more,
    rows: Number(match[3]) + more,
    squareMillimetres,
    ...(isCharuco
      ? {
          markerMillimetres: markerMillimetres ?? squareMillimetres * DEFAULT_MARKER_PART,
          dictionary: dictionary ?? DEFAULT_DICTIONARY,
          layout: layout ?? 'auto',
        }
      : {}),
  });
}

/** @throws SdkError ERR_ARGUMENT_INVALID */
export function requireBoard(board: CalibrationBoard): CalibrationBoard {
  const checked = boardSchema.safeParse(board);
  if (!checked.success) {
    const [issue] = checked.error.issues;
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a board, but ${issue?.path.join('.')}: ${issue?.message}`);
  }
  return checked.data;
}

export function nativeBoard(board: CalibrationBoard): NativeBoard {
  return {
    isCharuco: board.kind === 'charuco',
    columns: board.columns,
    rows: board.rows,
    squareSize: board.squareMillimetres,
    markerSize: board.markerMillimetres,
    dictionary: board.dictionary,
  };
}

/** What `findBoard` is told of the layout; undefined where the pictures shall tell. */
export function knownLayout({ layout = 'auto' }: CalibrationBoard): NativeLayout | undefined {
  return layout === 'auto' ? undefined : layout;
}
