/** What each camera sees, followed from description to description: the same thing keeps its number. */
import { createTracker, type Frame, type GroundedObject, type TrackedObjects, type Tracker } from 'scenebus';

export class CameraTracks {
  readonly #trackers = new Map<string, Tracker>();

  /** Everything that was found in a frame. */
  follow(camera: string, frame: Frame, objects: readonly GroundedObject[]): TrackedObjects {
    const tracker = this.#trackers.get(camera) ?? createTracker();
    this.#trackers.set(camera, tracker);
    return tracker.update(frame, objects);
  }

  /** The numbers of some that were found in a frame, as far as they are followed. */
  find(camera: string, frame: Frame, objects: readonly GroundedObject[]): readonly GroundedObject[] {
    return this.#trackers.get(camera)?.find(frame, objects) ?? objects;
  }

  /** The camera is not described any more: what comes after is new. */
  end(camera: string): void {
    this.#trackers.get(camera)?.reset();
  }
}
