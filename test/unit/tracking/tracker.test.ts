import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Box, GroundedObject } from '#sdk/core/types.js';
import { boxToPixels } from '#sdk/geometry/box.js';
import { createTracker, type Tracker } from '#sdk/tracking/index.js';

const SIZE = { width: 640, height: 480 };
const frameAt = (seconds: number, size = SIZE) => ({ ...size, capturedAtMs: 1_000_000 + seconds * 1000 });

function object(label: string, box: Box | readonly [x: number, y: number]): GroundedObject {
  const at = Array.isArray(box)
    ? { x1: box[0] - 0.1, y1: box[1] - 0.1, x2: box[0] + 0.1, y2: box[1] + 0.1 }
    : (box as Box);
  return { label, box: at, boxPixels: boxToPixels(at, 640, 480), score: 1, source: 'text' };
}

/** Numbers of what a frame holds. */
const idsOf = (tracker: Tracker, seconds: number, objects: readonly GroundedObject[]) =>
  tracker.update(frameAt(seconds), objects).objects.map(({ trackId }) => trackId);

describe('a tracker', () => {
  test('gives numbers from 1 on, the same ones to what stays, whatever their order', () => {
    const tracker = createTracker();
    expect(idsOf(tracker, 0, [object('cup', [0.2, 0.5]), object('book', [0.8, 0.5])])).toEqual([1, 2]);
    expect(idsOf(tracker, 1, [object('book', [0.81, 0.5]), object('cup', [0.2, 0.52])])).toEqual([2, 1]);
    expect(idsOf(tracker, 2, [object('key', [0.5, 0.2]), object('cup', [0.2, 0.5])])).toEqual([3, 1]);
  });

  test('leaves everything else of an object as it was', () => {
    const given = { ...object('cup', [0.2, 0.5]), verified: true, score: 0.25 };
    expect(createTracker().update(frameAt(0), [given]).objects).toEqual([{ ...given, trackId: 1 }]);
  });

  test('keeps two things of one name apart while they pass each other', () => {
    const tracker = createTracker();
    for (let i = 0; i <= 60; i++) {
      const x = i / 60;
      const pair = [object('cup', [0.1 + 0.8 * x, 0.45]), object('cup', [0.9 - 0.8 * x, 0.55])];
      // Whoever lists them first must not matter.
      const ids = idsOf(tracker, i / 15, i % 2 === 0 ? pair : pair.toReversed());
      expect(i % 2 === 0 ? ids : ids.toReversed(), `frame ${i}`).toEqual([1, 2]);
    }
  });

  test.each([
    ['the same but for case, article and plural', 'Red cup', 'the red cups', true],
    ['one more exact than the other', 'cup', 'red cup', true],
    ['the other way round', 'red cup', 'cup', true],
    ['contradicting each other', 'red cup', 'blue cup', false],
    ['different things', 'book', 'box', false],
  ])('matches labels that are %s at half an overlap: %#', (_name, first, second, isSame) => {
    const tracker = createTracker();
    tracker.update(frameAt(0), [object(first, [0.5, 0.5])]);
    expect(idsOf(tracker, 0.1, [object(second, [0.56, 0.5])])).toEqual([isSame ? 1 : 2]);
  });

  test('knows a thing that was misnamed by its place, and goes on under the new name', () => {
    const tracker = createTracker();
    tracker.update(frameAt(0), [object('book', [0.5, 0.5])]);
    expect(idsOf(tracker, 1, [object('box', [0.5, 0.505])])).toEqual([1]);
    expect(tracker.tracks.map(({ id, label }) => [id, label])).toEqual([[1, 'box']]);
  });

  test('knows a thing again without any overlap when it is called the same, not one far away', () => {
    const tracker = createTracker();
    tracker.update(frameAt(0), [object('red cup', [0.2, 0.5])]);
    expect(idsOf(tracker, 1, [object('red cup', [0.55, 0.6])])).toEqual([1]);
    expect(idsOf(tracker, 1.1, [object('red cup', [0.05, 0.05])])).toEqual([2]);
  });

  test('ends a track when it was missed once too often, and says so', () => {
    const tracker = createTracker({ maxMissedFrames: 2 });
    tracker.update(frameAt(0), [object('cup', [0.2, 0.5]), object('key', [0.8, 0.5])]);
    const endedAt = (i: number) => tracker.update(frameAt(i), [object('cup', [0.2, 0.5])]).ended;
    expect([endedAt(1), endedAt(2), endedAt(3), endedAt(4)]).toEqual([[], [], [2], []]);
    expect(idsOf(tracker, 5, [object('key', [0.8, 0.5])])).toEqual([3]);
  });

  test('ends a track that was last seen too long ago, though few frames came since', () => {
    const tracker = createTracker({ maxMissedSeconds: 10 });
    tracker.update(frameAt(0), [object('cup', [0.2, 0.5])]);
    expect(tracker.update(frameAt(9), []).ended).toEqual([]);
    expect(tracker.update(frameAt(11), []).ended).toEqual([1]);
    // One that is seen at long intervals goes on.
    tracker.update(frameAt(20), [object('cup', [0.2, 0.5])]);
    expect(idsOf(tracker, 50, [object('cup', [0.2, 0.5])])).toEqual([2]);
  });

  test('ends everything when the camera changes size, and does not use a number again', () => {
    const tracker = createTracker();
    tracker.update(frameAt(0), [object('cup', [0.2, 0.5])]);
    const { objects, ended } = tracker.update(frameAt(1, { width: 320, height: 240 }), [object('cup', [0.2, 0.5])]);
    expect(ended).toEqual([1]);
    expect(objects[0]!.trackId).toBe(2);
  });

  test('follows no more than it may: those that were seen longest ago give way, those in the frame do not', () => {
    const tracker = createTracker({ maxTracks: 3 });
    tracker.update(frameAt(0), [object('a', [0.1, 0.1]), object('b', [0.5, 0.1])]);
    tracker.update(frameAt(1), [object('b', [0.5, 0.1]), object('c', [0.9, 0.1])]);
    const { objects, ended } = tracker.update(frameAt(2), [object('d', [0.1, 0.9]), object('b', [0.5, 0.1])]);
    expect([objects.map(({ trackId }) => trackId), ended]).toEqual([[4, 2], [1]]);
    const names = ['e', 'f', 'g', 'h'];
    const crowd = names.map((name, i) => object(name, [0.2 + 0.2 * i, 0.5]));
    expect(idsOf(tracker, 3, crowd)).toEqual([5, 6, 7, undefined]);
    expect(tracker.tracks).toHaveLength(3);
  });

  test('stays bounded over thousands of frames of things that never come again', () => {
    const tracker = createTracker({ maxTracks: 32, maxMissedFrames: 1_000 });
    for (let i = 0; i < 3_000; i++) tracker.update(frameAt(i / 15), [object(`thing ${i}`, [(i % 7) / 7, (i % 5) / 5])]);
    expect(tracker.tracks).toHaveLength(32);
  });

  test('gives numbers to a part of what is there without missing the rest', () => {
    const tracker = createTracker({ maxMissedFrames: 0 });
    tracker.update(frameAt(0), [object('cup', [0.2, 0.5]), object('key', [0.8, 0.5])]);
    const found = tracker.find(frameAt(0.5), [object('key', [0.8, 0.5]), object('dog', [0.5, 0.1])]);
    expect(found.map(({ trackId }) => trackId)).toEqual([2, undefined]);
    expect(tracker.tracks.map(({ id }) => id)).toEqual([1, 2]);
  });

  test('takes nothing from a frame that is older than the last', () => {
    const tracker = createTracker();
    tracker.update(frameAt(2), [object('cup', [0.2, 0.5])]);
    const { objects, ended } = tracker.update(frameAt(1), [object('cup', [0.22, 0.5]), object('key', [0.8, 0.5])]);
    expect([objects.map(({ trackId }) => trackId), ended]).toEqual([[1, undefined], []]);
    expect(tracker.tracks).toHaveLength(1);
  });

  test('goes by the clock that nobody sets where frames have it', () => {
    const tracker = createTracker();
    const at = (wallSeconds: number, seconds: number) => ({
      ...frameAt(wallSeconds),
      capturedAtMonotonicMs: seconds * 1000,
    });
    tracker.update(at(0, 5), [object('cup', [0.2, 0.5])]);
    const { objects } = tracker.update(at(-3600, 6), [object('cup', [0.2, 0.5]), object('key', [0.8, 0.5])]);
    expect(objects.map(({ trackId }) => trackId)).toEqual([1, 2]);
  });

  test('says where what is missing is taken to be, within the frame', () => {
    const tracker = createTracker();
    for (let i = 0; i <= 5; i++) tracker.update(frameAt(i / 10), [object('cup', [0.3 + 0.04 * i, 0.5])]);
    tracker.update(frameAt(0.7), []);
    const [track] = tracker.tracks;
    expect((track!.box.x1 + track!.box.x2) / 2).toBeCloseTo(0.57, 1);
    expect(track!.missedFrames).toBe(1);
    expect(track!.lastSeenAtMs - track!.firstSeenAtMs).toBe(500);
  });

  test.each([
    [{ maxMissedFrames: -1 }, 'maxMissedFrames'],
    [{ maxMissedFrames: 1.5 }, 'maxMissedFrames'],
    [{ maxMissedSeconds: Number.NaN }, 'maxMissedSeconds'],
    [{ maxTracks: 257 }, 'maxTracks'],
    [{ maxTrack: 3 } as object, 'maxTrack'],
  ])('refuses %o', (options, option) => {
    expect(() => createTracker(options)).toThrowError(
      expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID', details: expect.objectContaining({ option }) }),
    );
  });

  test('refuses a frame without a size or a time', () => {
    const tracker = createTracker();
    for (const frame of [frameAt(0, { width: 0, height: 480 }), frameAt(Number.NaN)])
      expect(() => tracker.update(frame, [])).toThrowError(expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }));
  });
});

describe('on the sample clip', () => {
  const path = fileURLToPath(new URL('../../../examples/clips/tabletop.jsonl', import.meta.url));
  const frames = readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map(
      (line) =>
        JSON.parse(line) as { time: number; objects: { label: string; box: [number, number, number, number] }[] },
    );
  const truth = ({ label, box: [x1, y1, x2, y2] }: (typeof frames)[number]['objects'][number]) =>
    object(label, { x1, y1, x2, y2 });

  /** Numbers that each label had, in their order. */
  function numbersOf(isDropped: (frame: number, label: string) => boolean): Map<string, number[]> {
    const tracker = createTracker();
    const numbers = new Map<string, number[]>();
    for (const [i, { time, objects }] of frames.entries()) {
      const seen = objects.filter(({ label }) => !isDropped(i, label)).map(truth);
      for (const { label, trackId } of tracker.update(frameAt(time), seen).objects) {
        const before = numbers.get(label) ?? [];
        if (before.at(-1) !== trackId) numbers.set(label, [...before, trackId!]);
      }
    }
    return numbers;
  }

  test('every thing keeps its number to the end', () => {
    expect([...numbersOf(() => false).values()]).toEqual([[1], [2], [3], [4], [5]]);
  });

  test('every thing keeps its number over 20 missed frames, wherever they fall', () => {
    // Standing and moving: a gap of 20 frames in every 41, beginning later each time.
    for (let offset = 0; offset < 41; offset += 4) {
      const numbers = numbersOf((frame) => (frame + offset) % 41 < 20 && frame > 0);
      expect(
        [...numbers].filter(([, ids]) => ids.length !== 1),
        `offset ${offset}`,
      ).toEqual([]);
    }
  });
});
