/** One calibration from the first picture to the file: what a command and a page have in common. */
import { rename, rm, writeFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { SdkError } from '#sdk/core/errors.js';
import type { PixelImage } from '#sdk/core/image.js';
import type { CallOptions } from '#sdk/core/types.js';
import { formatCameraInfo } from '#sdk/geometry/camera-info.js';
import type { CameraLens, DistortionModel } from '#sdk/geometry/lens.js';
import { type CalibrationBoard, parseBoard } from './board.js';
import { BoardViews, type Coverage, type Refusal, type SeenPicture } from './board-views.js';
import { type CameraCalibration, solveLens } from './solve-lens.js';

/** What a user calls a lens, and the model of ROS for it. */
export const LENS_MODELS = Object.freeze({
  pinhole: 'plumb_bob',
  wide: 'rational_polynomial',
  fisheye: 'equidistant',
}) satisfies Readonly<Record<string, DistortionModel>>;
export type LensKind = keyof typeof LENS_MODELS;

export interface CalibrationSessionOptions {
  /** Default: `charuco:7x5`, squares of 30 mm. */
  readonly board?: CalibrationBoard | undefined;
  /** Default `pinhole`. */
  readonly lens?: LensKind | undefined;
}

export interface CalibrationProgress {
  readonly pictures: number;
  readonly coverage: Coverage;
  /** Pictures that were not taken, by reason. */
  readonly refused: Readonly<Partial<Record<Refusal, number>>>;
  /** One sentence: what to do next, or that it is enough. */
  readonly guidance: string;
}

/** Pictures go in one after another, a lens comes out. Keeps corners, never pictures; bounded by what `BoardViews` takes. */
export class CalibrationSession {
  readonly lens: LensKind;
  readonly #views: BoardViews;
  #pictures = 0;
  #last: SeenPicture | undefined;

  /** @throws SdkError ERR_ARGUMENT_INVALID for a board that is none */
  constructor({ board = parseBoard('charuco:7x5'), lens = 'pinhole' }: CalibrationSessionOptions = {}) {
    this.#views = new BoardViews(board);
    this.lens = lens;
  }

  get board(): CalibrationBoard {
    return this.#views.board;
  }

  /** Of the pictures, pixels; undefined before one with a board. */
  get size(): { readonly width: number; readonly height: number } | undefined {
    return this.#views.size;
  }

  /** Of a ChArUco board with an even number of rows, once a picture has told. */
  get layout(): BoardViews['layout'] {
    return this.#views.layout;
  }

  get progress(): CalibrationProgress {
    const { coverage, refusals } = this.#views;
    return {
      pictures: this.#pictures,
      coverage,
      refused: Object.fromEntries(refusals),
      guidance: this.#guide(coverage),
    };
  }

  /**
   * Looks for the board in a picture whose pixels do not change meanwhile. One at a time.
   * @throws SdkError ERR_IMAGE_INVALID, ERR_NATIVE_UNAVAILABLE, ERR_ARGUMENT_INVALID for an unknown dictionary
   */
  async add(image: PixelImage, name: string, options: CallOptions = {}): Promise<SeenPicture> {
    const seen = await this.#views.add(image, name, options);
    this.#pictures++;
    this.#last = seen;
    return seen;
  }

  /** @throws SdkError ERR_CALIBRATION_FAILED with `details.reason`, see `solveLens` */
  async solve(): Promise<CameraCalibration> {
    return await solveLens(this.#views, LENS_MODELS[this.lens]);
  }

  #guide({ isEnough, hint }: Coverage): string {
    if (isEnough) return 'That is enough.';
    const refusal = this.#last?.refusal;
    if (refusal === 'blurred') return 'Blurred: hold the board still, and focus the lens.';
    if (refusal === 'size') return `${this.#last?.message}.`;
    return `${hint.charAt(0).toUpperCase()}${hint.slice(1)}.`;
  }
}

/**
 * Of a file to write a calibration to, by its ending.
 * @throws SdkError ERR_ARGUMENT_INVALID
 */
export function cameraInfoFormat(file: string): 'yaml' | 'json' {
  const ending = extname(file).toLowerCase();
  if (ending === '.json') return 'json';
  if (ending === '.yaml' || ending === '.yml') return 'yaml';
  throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a file that ends in .yaml, .yml or .json, but got ${file}.`);
}

/**
 * Writes a lens as ROS's `camera_info`, YAML or JSON by the ending of the name: whole or not at all.
 * @param cameraName what ROS calls the camera
 * @throws SdkError ERR_ARGUMENT_INVALID; what the file system says
 */
export async function saveLens(lens: CameraLens, file: string, cameraName: string): Promise<void> {
  const text = formatCameraInfo(lens, cameraName, cameraInfoFormat(file));
  const draft = `${file}.${process.pid}.new`;
  try {
    await writeFile(draft, text);
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}
