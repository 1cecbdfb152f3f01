/** Gives the same thing the same number from frame to frame. */
import { SdkError } from '../core/errors.js';
import { refuseUnknownOptions } from '../core/option-names.js';
import type { Box, Frame, GroundedObject } from '../core/types.js';
import { boxToPixels, clampBox, intersectionOverUnion } from '../geometry/box.js';
import { assign } from './assignment.js';
import { BoxFilter } from './kalman.js';
import { matchLabels } from './label.js';

/** When tracks end, and how many there may be. */
export interface TrackerOptions {
  /** A thing that was not in so many frames in a row keeps its number; one more, and its track has ended. Default 20. */
  readonly maxMissedFrames?: number | undefined;
  /** The same in seconds since it was last seen. Default 300. */
  readonly maxMissedSeconds?: number | undefined;
  /** More end those that were seen longest ago. Default 128, at most 256. */
  readonly maxTracks?: number | undefined;
}

/** A thing that is followed. */
export interface Track {
  /** From 1 on, never used again by this tracker. */
  readonly id: number;
  /** As it was called last. */
  readonly label: string;
  /** Where it is taken to be at the time of the last frame; the part within the frame. */
  readonly box: Box;
  /** Whole pixels of the frame: `[x1, y1, x2, y2]`, x2/y2 exclusive. */
  readonly boxPixels: readonly [number, number, number, number];
  /** Frames in a row that it was not in. 0: it was in the last. */
  readonly missedFrames: number;
  /** Unix time, milliseconds. */
  readonly firstSeenAtMs: number;
  /** Unix time, milliseconds. */
  readonly lastSeenAtMs: number;
}

/** What a frame has come to. */
export interface TrackedObjects {
  /** In the order given, each with its `trackId`. */
  readonly objects: readonly GroundedObject[];
  /** Numbers of the tracks that ended with this frame. */
  readonly ended: readonly number[];
}

/** What a tracker needs of a frame. */
export type TrackedFrame = Pick<Frame, 'width' | 'height' | 'capturedAtMs' | 'capturedAtMonotonicMs'>;

interface Entry {
  readonly id: number;
  label: string;
  readonly filter: BoxFilter;
  missedFrames: number;
  readonly firstSeenAtMs: number;
  lastSeenAtMs: number;
  /** By the tracker's own time. */
  seenAtSeconds: number;
}

const DEFAULTS = { maxMissedFrames: 20, maxMissedSeconds: 300, maxTracks: 128 };
const OPTIONS = {
  maxMissedFrames: true,
  maxMissedSeconds: true,
  maxTracks: true,
} satisfies Record<keyof TrackerOptions, true>;
const MOST_TRACKS = 256;

/** Least overlap with where a thing was expected, by how its label fits. */
const LEAST_OVERLAP = { same: 0.1, related: 0.2, other: 0.6 } as const;
/** What a label costs beside the overlap: with equal boxes the better label wins. */
const LABEL_COST = { same: 0, related: 0.15, other: 0.5 } as const;
/** A thing of the same label is known again without any overlap, when it is within so many of its own diagonals … */
const REACH_DIAGONALS = 1.5;
/** … and for every second since it was seen, so many frame widths more. */
const REACH_PER_SECOND = 0.5;

/**
 * Follows the objects of one camera: overlap with where each was expected (Kalman filter), then label and nearness.
 *
 * Labels may differ from frame to frame. Word for word the same, or one within the other (`cup`, `red cup`): a small
 * overlap is enough, and what is called the same is known again at a distance that grows with the time since it was seen.
 * Labels that contradict each other (`book`, `box`) are one thing only where the boxes nearly coincide: a model misnames
 * things more often than one takes the place of another.
 *
 * @example
 * const tracker = createTracker();
 * const { objects, ended } = tracker.update(frame, answer.objects);
 */
export interface Tracker {
  /** Those that have not ended, by number. */
  readonly tracks: readonly Track[];
  /**
   * Everything that was found in a frame. What is not in it was missed. A frame of another size ends all tracks first; one
   * that is not newer than the last only gets numbers, as with `find`.
   * @throws SdkError ERR_ARGUMENT_INVALID for a frame without size or time
   */
  update(frame: TrackedFrame, objects: readonly GroundedObject[]): TrackedObjects;
  /** Numbers for objects of which there may be others in the frame; nothing is missed, begins or ends. */
  find(frame: TrackedFrame, objects: readonly GroundedObject[]): readonly GroundedObject[];
  /** Ends all tracks; returns their numbers. Numbers go on. */
  reset(): readonly number[];
}

/** @throws SdkError ERR_ARGUMENT_INVALID for limits that are none */
export function createTracker(options: TrackerOptions = {}): Tracker {
  refuseUnknownOptions(options, Object.keys(OPTIONS), 'createTracker');
  const { maxMissedFrames, maxMissedSeconds, maxTracks } = { ...DEFAULTS, ...withoutUndefined(options) };
  requireRange('maxMissedFrames', maxMissedFrames, 0, 100_000, true);
  requireRange('maxMissedSeconds', maxMissedSeconds, 0, 1e6, false);
  requireRange('maxTracks', maxTracks, 1, MOST_TRACKS, true);
  return new BoxTracker({ maxMissedFrames, maxMissedSeconds, maxTracks });
}

class BoxTracker implements Tracker {
  readonly #limits: Required<{ [K in keyof TrackerOptions]: number }>;
  #entries: Entry[] = [];
  #nextId = 1;
  #last: TrackedFrame | undefined;
  /** Goes on from frame to frame, whatever is done to the clock. */
  #seconds = 0;

  constructor(limits: Required<{ [K in keyof TrackerOptions]: number }>) {
    this.#limits = limits;
  }

  get tracks(): readonly Track[] {
    const frame = this.#last;
    if (frame === undefined) return [];
    return this.#entries.flatMap(({ filter, seenAtSeconds: _, ...entry }): Track[] => {
      const box = clampBox(filter.box);
      if (box === undefined) return [];
      return [{ ...entry, box, boxPixels: boxToPixels(box, frame.width, frame.height) }];
    });
  }

  update(frame: TrackedFrame, objects: readonly GroundedObject[]): TrackedObjects {
    requireFrame(frame);
    const ended: number[] = [];
    if (this.#last !== undefined && !isSameSize(this.#last, frame)) ended.push(...this.reset());
    const seconds = this.#last === undefined ? 0 : secondsBetween(this.#last, frame);
    if (this.#last !== undefined && seconds <= 0) return { objects: this.find(frame, objects), ended };
    for (const { filter } of this.#entries) filter.predict(seconds);
    this.#seconds += seconds;
    const { width, height, capturedAtMs, capturedAtMonotonicMs } = frame;
    this.#last = { width, height, capturedAtMs, capturedAtMonotonicMs };
    const pairs = this.#pair(frame, objects);
    for (const entry of this.#entries) entry.missedFrames++;
    for (const [i, entry] of pairs.entries()) {
      if (entry === undefined) continue;
      const { box, label } = objects[i]!;
      entry.filter.correct(box);
      Object.assign(entry, { label, missedFrames: 0, lastSeenAtMs: capturedAtMs, seenAtSeconds: this.#seconds });
    }
    ended.push(...this.#endLost());
    for (const [i, object] of objects.entries()) pairs[i] ??= this.#begin(frame, object, ended);
    const tracked = objects.map((object, i) => (pairs[i] === undefined ? object : { ...object, trackId: pairs[i].id }));
    return { objects: tracked, ended };
  }

  find(frame: TrackedFrame, objects: readonly GroundedObject[]): readonly GroundedObject[] {
    requireFrame(frame);
    if (this.#last === undefined || !isSameSize(this.#last, frame)) return objects;
    const pairs = this.#pair(frame, objects);
    return objects.map((object, i) => (pairs[i] === undefined ? object : { ...object, trackId: pairs[i].id }));
  }

  reset(): readonly number[] {
    const ended = this.#entries.map(({ id }) => id);
    this.#entries = [];
    this.#last = undefined;
    return ended;
  }

  /** The track of each object, where it has one. Overlap first, so that nothing near is taken for what is far. */
  #pair(frame: TrackedFrame, objects: readonly GroundedObject[]): (Entry | undefined)[] {
    const pairs = new Array<Entry | undefined>(objects.length).fill(undefined);
    const nowSeconds = this.#seconds + (this.#last === undefined ? 0 : Math.max(0, secondsBetween(this.#last, frame)));
    for (const costOf of [
      overlapCost,
      (entry: Entry, object: GroundedObject) => reachCost(entry, object, nowSeconds),
    ]) {
      const free = objects.flatMap((_, i) => (pairs[i] === undefined ? [i] : []));
      const taken = new Set(pairs);
      const entries = this.#entries.filter((entry) => !taken.has(entry));
      const columns = assign(free.map((i) => entries.map((entry) => costOf(entry, objects[i]!))));
      for (const [row, column] of columns.entries()) if (column >= 0) pairs[free[row]!] = entries[column];
    }
    return pairs;
  }

  /** Where there is no room the track that was seen longest ago ends; undefined when all of them are in this frame. */
  #begin({ capturedAtMs }: TrackedFrame, { label, box }: GroundedObject, ended: number[]): Entry | undefined {
    if (this.#entries.length >= this.#limits.maxTracks) {
      const oldest = this.#entries.reduce((a, b) => (b.seenAtSeconds < a.seenAtSeconds ? b : a));
      if (oldest.missedFrames === 0) return undefined;
      ended.push(oldest.id);
      this.#entries = this.#entries.filter((entry) => entry !== oldest);
    }
    const entry: Entry = {
      ...{ id: this.#nextId++, label, filter: new BoxFilter(box), missedFrames: 0 },
      ...{ firstSeenAtMs: capturedAtMs, lastSeenAtMs: capturedAtMs, seenAtSeconds: this.#seconds },
    };
    this.#entries.push(entry);
    return entry;
  }

  #endLost(): number[] {
    const { maxMissedFrames, maxMissedSeconds } = this.#limits;
    const isLost = ({ missedFrames, seenAtSeconds }: Entry) =>
      missedFrames > maxMissedFrames || (missedFrames > 0 && this.#seconds - seenAtSeconds > maxMissedSeconds);
    const ended = this.#entries.filter(isLost).map(({ id }) => id);
    this.#entries = this.#entries.filter((entry) => !isLost(entry));
    return ended;
  }
}

function overlapCost({ filter, label }: Entry, object: GroundedObject): number {
  const match = matchLabels(label, object.label);
  const overlap = intersectionOverUnion(filter.box, object.box);
  return overlap < LEAST_OVERLAP[match] ? Number.POSITIVE_INFINITY : 1 - overlap + LABEL_COST[match];
}

function reachCost({ filter, label, seenAtSeconds }: Entry, object: GroundedObject, nowSeconds: number): number {
  if (matchLabels(label, object.label) !== 'same') return Number.POSITIVE_INFINITY;
  const [expected, { box }] = [filter.box, object];
  // The same thing has about the same width or height; at an edge of the frame the other one is cut.
  const isLike = (one: number, other: number) => Math.max(one, other) <= 2 * Math.min(one, other);
  const isLikeWide = isLike(expected.x2 - expected.x1, box.x2 - box.x1);
  if (!isLikeWide && !isLike(expected.y2 - expected.y1, box.y2 - box.y1)) return Number.POSITIVE_INFINITY;
  const away = Math.hypot(
    (expected.x1 + expected.x2 - box.x1 - box.x2) / 2,
    (expected.y1 + expected.y2 - box.y1 - box.y2) / 2,
  );
  const diagonal = Math.hypot(box.x2 - box.x1, box.y2 - box.y1);
  const reach = REACH_DIAGONALS * diagonal + REACH_PER_SECOND * (nowSeconds - seenAtSeconds);
  return away > reach ? Number.POSITIVE_INFINITY : away;
}

/** By the clock that nobody sets, where both have it. */
function secondsBetween(earlier: TrackedFrame, later: TrackedFrame): number {
  const [from, to] = [earlier.capturedAtMonotonicMs, later.capturedAtMonotonicMs];
  if (from !== undefined && to !== undefined) return (to - from) / 1000;
  return (later.capturedAtMs - earlier.capturedAtMs) / 1000;
}

function isSameSize(a: TrackedFrame, b: TrackedFrame): boolean {
  return a.width === b.width && a.height === b.height;
}

function requireFrame({ width, height, capturedAtMs }: TrackedFrame): void {
  if (width > 0 && height > 0 && Number.isFinite(capturedAtMs)) return;
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected a frame with a size and a time but received width ${width}, height ${height}, capturedAtMs ${capturedAtMs}.`,
  );
}

function requireRange(name: string, value: number, min: number, max: number, isWhole: boolean): void {
  if (value >= min && value <= max && (!isWhole || Number.isInteger(value))) return;
  const kind = isWhole ? 'a whole number' : 'a number';
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected ${name} as ${kind} from ${min} to ${max} but received ${value}.`,
    { details: { option: name } },
  );
}

function withoutUndefined(options: TrackerOptions): { [K in keyof TrackerOptions]?: number } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
