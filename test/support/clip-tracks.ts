/** Numbers of things on the sample clip, by the boxes that a detector finds in its frames, against what its renderer knows. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createTracker,
  type Frame,
  type GroundedObject,
  intersectionOverUnion,
  openCamera,
  openDetector,
} from 'scenebus';
import { packageRoot } from '#sdk/native/index.js';

// Under `dist` too, where the bench runs.
const example = (...path: string[]) => join(packageRoot(), 'examples', ...path);
const clip = example('clips', 'tabletop.mp4');

interface Truth {
  readonly time: number;
  readonly objects: readonly { label: string; box: [number, number, number, number]; visible: number }[];
}

/** A frame, without its pixels, and what was found in it. */
export interface DetectedFrame {
  readonly frame: Omit<Frame, 'data'>;
  readonly objects: readonly GroundedObject[];
}

/** What became of the numbers of things that are at least half visible. */
export interface FollowedThings {
  /** Things in frames. */
  readonly things: number;
  /** Those that a box was found for. */
  readonly found: number;
  /** Numbers that are another than the thing had before. */
  readonly switches: number;
  /** Different things. */
  readonly labels: number;
}

/** Boxes of the demo detector in the clip's first seconds, in the clip's own time. */
export async function detectClip(seconds: number, fps: number): Promise<DetectedFrame[]> {
  const seen: DetectedFrame[] = [];
  const folder = example('demo-detector');
  await using detector = await openDetector(folder, { decides: 'detector' });
  await using camera = await openCamera(clip, { fps });
  for await (const { data, ...frame } of camera.frames()) {
    if ((frame.mediaTimeMs ?? 0) > seconds * 1000) break;
    seen.push({ frame, objects: await detector.ground({ text: '', tokens: [], image: { ...frame, data } }) });
  }
  return seen;
}

/** @param isMissed frames of which the tracker is shown nothing */
export function followThings(seen: readonly DetectedFrame[], isMissed: (index: number) => boolean): FollowedThings {
  const truth = readFileSync(clip.replace(/mp4$/, 'jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Truth);
  const tracker = createTracker();
  const numbers = new Map<string, number>();
  const count = { things: 0, found: 0, switches: 0 };
  for (const [i, { frame, objects }] of seen.entries()) {
    const tracked = tracker.update(frame as Frame, isMissed(i) ? [] : objects).objects;
    if (isMissed(i)) continue;
    const seconds = (frame.mediaTimeMs ?? 0) / 1000;
    const now = truth.reduce((a, b) => (Math.abs(b.time - seconds) < Math.abs(a.time - seconds) ? b : a));
    for (const { label, box, visible } of now.objects) {
      if (visible < 0.5) continue;
      count.things++;
      const [x1, y1, x2, y2] = box;
      const own = tracked.filter(
        (each) => each.label === label && intersectionOverUnion(each.box, { x1, y1, x2, y2 }) >= 0.5,
      );
      if (own[0] === undefined) continue;
      count.found++;
      if (numbers.has(label) && numbers.get(label) !== own[0].trackId) count.switches++;
      numbers.set(label, own[0].trackId!);
    }
  }
  return { ...count, labels: numbers.size };
}

/** Of every 41 frames 20 in a row. */
export function twentyMissed(index: number): boolean {
  return index % 41 >= 10 && index % 41 < 30;
}
