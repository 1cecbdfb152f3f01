/** Has a scene changed enough to be worth a look? A small grey thumbnail decides, in well under a millisecond. */
import { SdkError } from '../core/errors.js';
import type { PixelImage } from '../core/image.js';
import { engineAddon } from '../native/binding.js';
import { requirePixelImage } from './pixel-image.js';

export interface ChangeGateOptions {
  /** Cells of the thumbnail. Default 64 × 36. */
  readonly gridWidth?: number | undefined;
  readonly gridHeight?: number | undefined;
  /** Side of a block in cells: about the smallest thing that matters. Default 4, a sixteenth of the width. */
  readonly blockSize?: number | undefined;
  /** Mean difference of the whole picture that counts, in grey levels 0–255. Default 4. */
  readonly meanThreshold?: number | undefined;
  /** Mean difference of one block that counts, in grey levels 0–255. Default 16. */
  readonly blockThreshold?: number | undefined;
}

/** A look at a frame that was not read: as much as a `ChangeGate` needs. Valid during the call that it is given to. */
export interface FrameGlance {
  /** Mean grey level 0–255 of each cell of a grid over the picture, `[gridHeight, gridWidth]`. */
  greyThumbnail(gridWidth: number, gridHeight: number): Uint8Array;
}

/** The same of a picture that is here already. @throws SdkError ERR_ARGUMENT_INVALID */
export function glanceAt(image: PixelImage): FrameGlance {
  requirePixelImage(image);
  const { data, width, height, format } = image;
  return {
    greyThumbnail: (gridWidth, gridHeight) =>
      engineAddon().greyThumbnail(data, width, height, format === 'bgr8', gridWidth, gridHeight),
  };
}

export interface ChangeMeasure {
  readonly changed: boolean;
  /** Grey levels 0–255; Infinity when there is nothing to compare with. */
  readonly mean: number;
  readonly maxBlock: number;
}

/**
 * Compares pictures with a reference: the last one that was let through. Slow drift therefore adds up and is noticed,
 * which it would not be from frame to frame.
 *
 * @example
 * const gate = new ChangeGate();
 * for await (const frame of camera) if (gate.update(frame).changed) await look(frame);
 */
export class ChangeGate {
  readonly #grid: { readonly width: number; readonly height: number };
  readonly #blockSize: number;
  readonly #meanThreshold: number;
  readonly #blockThreshold: number;
  #reference: Uint8Array | undefined;

  constructor(options: ChangeGateOptions = {}) {
    this.#grid = {
      width: requireCount(options.gridWidth ?? 64, 'gridWidth'),
      height: requireCount(options.gridHeight ?? 36, 'gridHeight'),
    };
    this.#blockSize = requireCount(options.blockSize ?? 4, 'blockSize');
    this.#meanThreshold = options.meanThreshold ?? 4;
    this.#blockThreshold = options.blockThreshold ?? 16;
  }

  /** Compares without letting through. Without a reference everything is a change. */
  measure(image: PixelImage | FrameGlance): ChangeMeasure {
    return this.#compare(this.#thumbnail(image));
  }

  /** Compares; a changed picture becomes the reference. */
  update(image: PixelImage): ChangeMeasure {
    const thumbnail = this.#thumbnail(image);
    const measure = this.#compare(thumbnail);
    if (measure.changed) this.#reference = thumbnail;
    return measure;
  }

  /** Makes a picture the reference whatever it shows: it was looked at for another reason. */
  accept(image: PixelImage): void {
    this.#reference = this.#thumbnail(image);
  }

  /** Forgets the reference: the next picture is a change. */
  reset(): void {
    this.#reference = undefined;
  }

  #thumbnail(image: PixelImage | FrameGlance): Uint8Array {
    const glance = 'greyThumbnail' in image ? image : glanceAt(image);
    return glance.greyThumbnail(this.#grid.width, this.#grid.height);
  }

  #compare(thumbnail: Uint8Array): ChangeMeasure {
    if (this.#reference === undefined) {
      return { changed: true, mean: Number.POSITIVE_INFINITY, maxBlock: Number.POSITIVE_INFINITY };
    }
    const { mean, maxBlock } = engineAddon().compareThumbnails(
      this.#reference,
      thumbnail,
      this.#grid.width,
      this.#grid.height,
      this.#blockSize,
    );
    return { mean, maxBlock, changed: mean >= this.#meanThreshold || maxBlock >= this.#blockThreshold };
  }
}

function requireCount(value: number, name: string): number {
  if (Number.isInteger(value) && value >= 1 && value <= 1024) return value;
  throw new SdkError('ERR_ARGUMENT_INVALID', `Expected ${name} to be an integer in 1–1024, but received ${value}.`);
}
