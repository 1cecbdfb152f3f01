/** Parts of a camera's picture that nobody may see: filled before a frame reaches the model, the journal or a caller. */
import type { Camera, CameraStatus, Frame, FramesOptions, ReadOptions } from 'scenebus';
import { glanceAt } from 'scenebus/service';

/** Corners x, y, normalised to the frame. */
export type Polygon = readonly (readonly [x: number, y: number])[];

/** Neither black nor white: a picture of its own in the eyes of a model. Says nothing of what is below, as a blur does. */
const FILL_LEVEL = 128;

/** Pixels of one row, end exclusive. */
interface Span {
  readonly row: number;
  readonly start: number;
  readonly end: number;
}

/** Fills polygons in frames, in place. Every pixel that a polygon touches counts as inside. */
export class PrivacyMasks {
  readonly #polygons: readonly Polygon[];
  #size = { width: 0, height: 0 };
  #spans: readonly Span[] = [];

  constructor(polygons: readonly Polygon[]) {
    this.#polygons = polygons;
  }

  apply(frame: Frame): Frame {
    const { width, height, data } = frame;
    if (width !== this.#size.width || height !== this.#size.height) {
      this.#spans = this.#polygons.flatMap((polygon) => spansOf(polygon, width, height));
      this.#size = { width, height };
    }
    for (const { row, start, end } of this.#spans) {
      data.fill(FILL_LEVEL, 3 * (row * width + start), 3 * (row * width + end));
    }
    return frame;
  }
}

/** The same camera, of which nothing below the polygons can be read. */
export function maskCamera(camera: Camera, polygons: readonly Polygon[]): Camera {
  return polygons.length === 0 ? camera : new MaskedCamera(camera, new PrivacyMasks(polygons));
}

class MaskedCamera implements Camera {
  readonly #camera: Camera;
  readonly #masks: PrivacyMasks;

  constructor(camera: Camera, masks: PrivacyMasks) {
    this.#camera = camera;
    this.#masks = masks;
  }

  get info() {
    return this.#camera.info;
  }
  get status(): CameraStatus {
    return this.#camera.status;
  }
  get newestFrameAtMs(): number | undefined {
    return this.#camera.newestFrameAtMs;
  }
  get newestFrameAtMonotonicMs(): number | undefined {
    return this.#camera.newestFrameAtMonotonicMs;
  }
  get newestSequence(): number {
    return this.#camera.newestSequence;
  }
  statusChanges(options?: Parameters<Camera['statusChanges']>[0]): AsyncIterable<CameraStatus> {
    return this.#camera.statusChanges(options);
  }

  async read(options?: ReadOptions): Promise<Frame> {
    return this.#masks.apply(await this.#camera.read(options));
  }

  async *frames(options?: FramesOptions): AsyncGenerator<Frame> {
    // What a mask covers gives no reason to look either: frames are judged as they are given out.
    const { skip, ...others } = options ?? {};
    for await (const frame of this.#camera.frames(others)) {
      const masked = this.#masks.apply(frame);
      if (!skip?.(glanceAt(masked))) yield masked;
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<Frame> {
    return this.frames();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#camera[Symbol.asyncDispose]();
  }
}

/**
 * A pixel that a polygon touches either is crossed by an edge or lies inside as a whole, which its middle row tells
 * (even-odd).
 */
function spansOf(polygon: Polygon, width: number, height: number): Span[] {
  const corners = polygon.map(([x, y]) => ({ x: x * width, y: y * height }));
  const edges = corners.map((from, i) => ({ from, to: corners[(i + 1) % corners.length]! }));
  const spans: Span[] = [];
  for (let row = 0; row < height; row++) {
    const add = (left: number, right: number) => {
      const start = Math.max(0, Math.min(width - 1, Math.floor(left)));
      const end = Math.min(width, Math.max(start + 1, Math.ceil(right)));
      spans.push({ row, start, end });
    };
    const crossings: number[] = [];
    for (const { from, to } of edges) {
      const [top, bottom] = from.y <= to.y ? [from, to] : [to, from];
      if (bottom.y < row || top.y > row + 1) continue;
      const xAt = (y: number) => top.x + ((y - top.y) / (bottom.y - top.y)) * (bottom.x - top.x);
      const isFlat = bottom.y === top.y;
      const first = isFlat ? top.x : xAt(Math.max(row, top.y));
      const last = isFlat ? bottom.x : xAt(Math.min(row + 1, bottom.y));
      add(Math.min(first, last), Math.max(first, last));
      const middle = row + 0.5;
      if (top.y <= middle && bottom.y > middle) crossings.push(xAt(middle));
    }
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) add(crossings[i]!, crossings[i + 1]!);
  }
  return spans;
}
