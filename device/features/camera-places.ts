/** Where in the world things are, for cameras whose lens is known: read once, and again when the file has changed. */
import { stat } from 'node:fs/promises';
import { type CameraLens, type Frame, type GroundedObject, isSdkError, locateObjects, SdkError } from 'scenebus';
import { readLens } from '../config/lens-file.js';
import type { CameraConfig } from '../config/schema.js';
import type { Problems } from '../events/problems.js';

interface KnownLens {
  readonly file: string;
  readonly modifiedMs: number;
  readonly lens: CameraLens;
}

export class CameraPlaces {
  readonly #problems: Pick<Problems, 'report' | 'clear'>;
  readonly #lenses = new Map<string, KnownLens>();

  constructor(problems: Pick<Problems, 'report' | 'clear'>) {
    this.#problems = problems;
  }

  /**
   * The objects with `bearing` and `floor`, as far as the configuration tells. A calibration that cannot be read or is for
   * pictures of another shape is a problem of the device; its objects stay without, and the answer is given all the same.
   */
  async locate(
    { id, intrinsics, mounting }: Pick<CameraConfig, 'id' | 'intrinsics' | 'mounting'>,
    frame: Pick<Frame, 'width' | 'height'>,
    objects: readonly GroundedObject[],
  ): Promise<readonly GroundedObject[]> {
    const part = `intrinsics/${id}`;
    if (intrinsics === undefined) {
      this.forget(id);
      return objects;
    }
    try {
      const lens = await this.#lensOf(id, intrinsics);
      const located = locateObjects(objects, frame, { lens, mounting });
      this.#problems.clear(part);
      return located;
    } catch (error) {
      this.#problems.report(part, nameCamera(error, id));
      return objects;
    }
  }

  /** The camera is gone, or nobody says any more what its lens is. */
  forget(id: string): void {
    this.#lenses.delete(id);
    this.#problems.clear(`intrinsics/${id}`);
  }

  async #lensOf(id: string, file: string): Promise<CameraLens> {
    const modifiedMs = await stat(file).then(
      ({ mtimeMs }) => mtimeMs,
      () => Number.NaN, // what is wrong with it is said by who reads it
    );
    const known = this.#lenses.get(id);
    if (known?.file === file && known.modifiedMs === modifiedMs) return known.lens;
    this.#lenses.delete(id);
    const lens = await readLens(file);
    this.#lenses.set(id, { file, modifiedMs, lens });
    return lens;
  }
}

function nameCamera(error: unknown, camera: string): unknown {
  if (!isSdkError(error)) return error;
  const message = `The objects of camera ${camera} have no bearings. ${error.message}`;
  return new SdkError(error.code, message, { cause: error, details: error.details });
}
