/** Pictures of a board, one after another: what each is good for, how much of the picture they cover, what is missing. */
import { SdkError } from '#sdk/core/errors.js';
import type { PixelImage } from '#sdk/core/image.js';
import type { CallOptions } from '#sdk/core/types.js';
import { toSdkError } from '#sdk/engine/shared/native-call.js';
import { requirePixelImage } from '#sdk/image/pixel-image.js';
import { lensAddon } from '#sdk/native/index.js';
import { type CalibrationBoard, knownLayout, nativeBoard, requireBoard } from './board.js';
import type { NativeLayout, NativeView } from './lens-addon.js';

/** Why a picture was not taken. */
export type Refusal = 'no-board' | 'blurred' | 'alike' | 'size' | 'full';

export interface SeenPicture {
  readonly name: string;
  /** undefined: it was taken. */
  readonly refusal: Refusal | undefined;
  /** In words, for people. */
  readonly message: string;
  /** Corners of the board, pixels: x and y of each. Empty without a board. */
  readonly points: Float64Array;
}

export interface Coverage {
  /** Views that were taken. */
  readonly views: number;
  /** `[rows, columns]`: how many corners lie in each part of the picture, row by row from the top left. */
  readonly rows: number;
  readonly columns: number;
  readonly corners: readonly number[];
  /** Part of those parts that have any, 0–1. */
  readonly covered: number;
  /** Views in which the board is tilted, so that one side of it looks smaller than the other. */
  readonly tilted: number;
  /** More will hardly make it better. */
  readonly isEnough: boolean;
  /** What to do next, in words; empty when it is enough. */
  readonly hint: string;
}

/** A view that was taken. */
export interface BoardView extends NativeView {
  readonly name: string;
}

const ROWS = 4;
const COLUMNS = 6;
const ENOUGH_VIEWS = 12;
/** Whatever they cover: the corners of a fisheye picture may show nothing at all. */
const ENOUGH_ANYWHERE = 40;
const ENOUGH_COVERED = 0.75;
const ENOUGH_TILTED = 4;
/** Bounds memory and the time that the solution takes. */
const MAX_VIEWS = 200;
/** Mean movement of the board's corners, as a part of the picture's diagonal, below which a view says nothing new. */
const ALIKE = 0.02;
/** Pixels over which an edge may reach; and the part of a square, for boards that are large in the picture. */
const MAX_EDGE_PIXELS = 4.5;
const MAX_EDGE_OF_SQUARE = 0.1;
/** Of the sizes that two opposite sides of the board have in the picture. */
const TILTED_RATIO = 1.12;

/** Takes pictures until there are enough. Not for use by several callers at once. */
export class BoardViews {
  readonly board: CalibrationBoard;
  readonly #views: BoardView[] = [];
  readonly #cells = new Array<number>(ROWS * COLUMNS).fill(0);
  readonly #refusals = new Map<Refusal, number>();
  #size: { readonly width: number; readonly height: number } | undefined;
  #layout: NativeLayout | undefined;
  #tilted = 0;

  /** @throws SdkError ERR_ARGUMENT_INVALID */
  constructor(board: CalibrationBoard) {
    this.board = requireBoard(board);
    this.#layout = knownLayout(this.board);
  }

  /** Of the pictures, pixels; undefined before the first. */
  get size(): { readonly width: number; readonly height: number } | undefined {
    return this.#size;
  }

  get views(): readonly BoardView[] {
    return this.#views;
  }

  /** How the squares of a ChArUco board are laid out, once it is known. */
  get layout(): NativeLayout | undefined {
    return this.#layout;
  }

  /** How many pictures were refused for each reason. */
  get refusals(): ReadonlyMap<Refusal, number> {
    return this.#refusals;
  }

  /**
   * Looks for the board in a picture, and keeps what is new about it. The pixels must not change meanwhile.
   * @throws SdkError ERR_IMAGE_INVALID, ERR_NATIVE_UNAVAILABLE, ERR_ARGUMENT_INVALID for an unknown dictionary
   */
  async add(image: PixelImage, name: string, { signal }: CallOptions = {}): Promise<SeenPicture> {
    requirePixelImage(image);
    const { width, height, format, data } = image;
    if (this.#size !== undefined && (this.#size.width !== width || this.#size.height !== height))
      return this.#refuse(
        name,
        'size',
        `is ${width}×${height}, but the others are ${this.#size.width}×${this.#size.height}: a lens is calibrated for one size`,
      );
    if (this.#views.length >= MAX_VIEWS)
      return this.#refuse(name, 'full', `is more than the ${MAX_VIEWS} that are used`);
    const picture = { width, height, bgr: format === 'bgr8' };
    const seen = await lensAddon()
      .findBoard(data, picture, nativeBoard(this.board), this.#layout)
      .catch((error: unknown) => {
        throw toSdkError(error);
      });
    signal?.throwIfAborted();
    const { points, corners } = seen;
    if (corners.length === 0) {
      const markers = seen.markers > 0 ? ` (${seen.markers} markers, but not of this board)` : '';
      return this.#refuse(name, 'no-board', `shows no ${describeBoard(this.board)} wholly and clearly${markers}`);
    }
    const square = squarePixels(this.board, seen);
    if (seen.edgeWidthPixels > Math.max(MAX_EDGE_PIXELS, MAX_EDGE_OF_SQUARE * square)) {
      const message = `is blurred: edges reach over ${seen.edgeWidthPixels.toFixed(1)} pixels. Hold the board still, and focus the lens`;
      return this.#refuse(name, 'blurred', message, points);
    }
    if (this.#views.some((view) => movement(view, seen) < ALIKE * Math.hypot(width, height)))
      return this.#refuse(name, 'alike', 'is like one before: move or tilt the board', points);

    this.#size ??= { width, height };
    // A part of the board with an odd number of rows says nothing of the layout, and nothing depends on it then.
    this.#layout ??= this.board.kind === 'charuco' ? seen.layout : undefined;
    this.#views.push({ name, corners, points });
    for (let i = 0; i < corners.length; i++) {
      const column = Math.floor((COLUMNS * ((points[2 * i] ?? 0) + 0.5)) / width);
      const row = Math.floor((ROWS * ((points[2 * i + 1] ?? 0) + 0.5)) / height);
      const cell = Math.min(ROWS - 1, Math.max(0, row)) * COLUMNS + Math.min(COLUMNS - 1, Math.max(0, column));
      this.#cells[cell] = (this.#cells[cell] ?? 0) + 1;
    }
    if (isTilted(this.board, seen)) this.#tilted++;
    return { name, refusal: undefined, message: `shows the board: ${corners.length} corners`, points };
  }

  get coverage(): Coverage {
    const covered = this.#cells.filter((corners) => corners > 0).length / this.#cells.length;
    const state = { views: this.#views.length, covered, tilted: this.#tilted };
    const hint = this.#hint(state);
    return {
      ...state,
      rows: ROWS,
      columns: COLUMNS,
      corners: [...this.#cells],
      isEnough: hint === '',
      hint,
    };
  }

  /** @throws SdkError ERR_CALIBRATION_FAILED: with fewer views a lens would be guessed rather than measured */
  requireViews(atLeast: number): { readonly width: number; readonly height: number } {
    if (this.#size !== undefined && this.#views.length >= atLeast) return this.#size;
    const refused = [...this.#refusals].map(([reason, count]) => `${count} ${REFUSAL_WORDS[reason]}`);
    const [most] = [...this.#refusals].sort((a, b) => b[1] - a[1]);
    throw new SdkError(
      'ERR_CALIBRATION_FAILED',
      `Expected at least ${atLeast} different sharp pictures of the ${describeBoard(this.board)}, but there are ${this.#views.length}${refused.length > 0 ? ` (${refused.join(', ')})` : ''}. ${ADVICE[most?.[0] ?? 'no-board']}`,
      {
        details: {
          reason: most?.[0] ?? 'too-few',
          views: this.#views.length,
          refused: Object.fromEntries(this.#refusals),
        },
      },
    );
  }

  #hint({ views, covered, tilted }: Pick<Coverage, 'views' | 'covered' | 'tilted'>): string {
    if (views === 0) return 'hold the board before the camera';
    if (views >= ENOUGH_ANYWHERE) return '';
    if (covered < ENOUGH_COVERED) return `move the board to the ${this.#emptiestPart()} of the picture`;
    if (tilted < ENOUGH_TILTED) return 'tilt the board: to the left, to the right, forwards, backwards';
    return views < ENOUGH_VIEWS ? 'more of the same, nearer and farther' : '';
  }

  #emptiestPart(): string {
    const empty = this.#cells.flatMap((corners, cell) => (corners === 0 ? [cell] : []));
    const row = (cell: number) => Math.floor(cell / COLUMNS);
    const parts = (['top', 'bottom'] as const).flatMap((vertical) =>
      (['left', 'right'] as const).map((horizontal) => ({
        name: `${vertical} ${horizontal}`,
        missing: empty.filter(
          (cell) =>
            (vertical === 'top') === row(cell) < ROWS / 2 && (horizontal === 'left') === cell % COLUMNS < COLUMNS / 2,
        ).length,
      })),
    );
    return parts.sort((a, b) => b.missing - a.missing)[0]?.name ?? 'edge';
  }

  #refuse(name: string, refusal: Refusal, message: string, points: Float64Array = new Float64Array()): SeenPicture {
    this.#refusals.set(refusal, (this.#refusals.get(refusal) ?? 0) + 1);
    return { name, refusal, message, points };
  }
}

const REFUSAL_WORDS: Readonly<Record<Refusal, string>> = {
  'no-board': 'without the board',
  blurred: 'blurred',
  alike: 'like another',
  size: 'of another size',
  full: 'beyond the limit',
};

const ADVICE: Readonly<Record<Refusal, string>> = {
  'no-board': 'Is it the board that was named, flat, wholly in the picture, sharp and well lit?',
  blurred: 'Hold the board still while a picture is taken, and focus the lens first.',
  alike: 'Move the board to every part of the picture, near and far, and tilt it.',
  size: 'Take all pictures at the size that the camera runs with.',
  full: 'Leave some out.',
};

/** `9×6 chessboard (inner corners)` or `7×5 ChArUco board`. */
export function describeBoard({ kind, columns, rows }: CalibrationBoard): string {
  return kind === 'charuco'
    ? `${columns}×${rows} ChArUco board`
    : `chessboard of ${columns - 1}×${rows - 1} inner corners`;
}

/** Mean distance of the corners that both show; infinite when they share none. */
function movement(a: NativeView, b: NativeView): number {
  const places = new Map<number, number>();
  a.corners.forEach((corner, i) => void places.set(corner, i));
  let sum = 0;
  let shared = 0;
  b.corners.forEach((corner, i) => {
    const j = places.get(corner);
    if (j === undefined) return;
    sum += distance(a, j, b, i);
    shared++;
  });
  return shared === 0 ? Number.POSITIVE_INFINITY : sum / shared;
}

function distance(a: NativeView, i: number, b: NativeView, j: number): number {
  return Math.hypot(
    (a.points[2 * i] ?? 0) - (b.points[2 * j] ?? 0),
    (a.points[2 * i + 1] ?? 0) - (b.points[2 * j + 1] ?? 0),
  );
}

/** Lengths of squares' sides in the picture, with where on the board they lie. */
function sides(board: CalibrationBoard, view: NativeView) {
  const perRow = board.columns - 1;
  const places = new Map<number, number>();
  view.corners.forEach((corner, i) => void places.set(corner, i));
  const found: { readonly row: number; readonly column: number; readonly isDown: boolean; readonly pixels: number }[] =
    [];
  for (const [corner, i] of places) {
    const [row, column] = [Math.floor(corner / perRow), corner % perRow];
    const right = column + 1 < perRow ? places.get(corner + 1) : undefined;
    const below = places.get(corner + perRow);
    if (right !== undefined) found.push({ row, column, isDown: false, pixels: distance(view, i, view, right) });
    if (below !== undefined) found.push({ row, column, isDown: true, pixels: distance(view, i, view, below) });
  }
  return found;
}

function squarePixels(board: CalibrationBoard, view: NativeView): number {
  return mean(sides(board, view).map(({ pixels }) => pixels));
}

/** A board that is parallel to the picture has sides of one length everywhere, but for what the lens bends. */
function isTilted(board: CalibrationBoard, view: NativeView): boolean {
  const all = sides(board, view);
  const rows = all.map(({ row }) => row);
  const columns = all.map(({ column }) => column);
  const ratio = (isDown: boolean, isFirst: (side: (typeof all)[number]) => boolean, isLast: typeof isFirst) => {
    const of = (test: typeof isFirst) =>
      mean(all.filter((side) => side.isDown === isDown && test(side)).map((s) => s.pixels));
    const [first, last] = [of(isFirst), of(isLast)];
    return first > 0 && last > 0 ? Math.max(first / last, last / first) : 1;
  };
  const [top, bottom] = [Math.min(...rows), Math.max(...rows)];
  const [left, right] = [Math.min(...columns), Math.max(...columns)];
  return (
    ratio(
      false,
      ({ row }) => row === top,
      ({ row }) => row === bottom,
    ) > TILTED_RATIO ||
    ratio(
      true,
      ({ column }) => column === left,
      ({ column }) => column === right,
    ) > TILTED_RATIO
  );
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
