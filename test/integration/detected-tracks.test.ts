/** Numbers of things on the sample clip, by the boxes that a detector finds in its frames, against what its renderer knows. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  createTracker,
  type Frame,
  type GroundedObject,
  intersectionOverUnion,
  openCamera,
  openDetector,
} from 'scenebus';
import { beforeAll, expect, test } from 'vitest';
import { clip } from './device/demo-device.js';

interface Truth {
  readonly time: number;
  readonly objects: readonly { label: string; box: [number, number, number, number]; visible: number }[];
}
const SECONDS = 12;
const FPS = 5;

const truth = readFileSync(clip.replace(/mp4$/, 'jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Truth);
const seen: {
  readonly frame: Pick<Frame, 'width' | 'height'> & object;
  readonly objects: readonly GroundedObject[];
}[] = [];

beforeAll(async () => {
  const folder = fileURLToPath(new URL('../../examples/demo-detector/', import.meta.url));
  await using detector = await openDetector(folder, { decides: 'detector' });
  await using camera = await openCamera(clip, { fps: FPS });
  for await (const { data, ...frame } of camera.frames()) {
    if ((frame.mediaTimeMs ?? 0) > SECONDS * 1000) break;
    seen.push({ frame, objects: await detector.ground({ text: '', tokens: [], image: { ...frame, data } }) });
  }
}, 120_000);

/** Changes of the number of a thing that is at least half visible, and how many of these a box was found for. */
function follow(isMissed: (index: number) => boolean) {
  const tracker = createTracker();
  const numbers = new Map<string, number>();
  const count = { things: 0, found: 0, switches: 0 };
  for (const [i, { frame, objects }] of seen.entries()) {
    const tracked = tracker.update(frame as Frame, isMissed(i) ? [] : objects).objects;
    if (isMissed(i)) continue;
    const seconds = ((frame as Frame).mediaTimeMs ?? 0) / 1000;
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

test('boxes of a detector keep their numbers', () => {
  const { things, found, switches, labels } = follow(() => false);
  expect(found / things).toBeGreaterThan(0.95);
  expect([switches, labels >= 3]).toEqual([0, true]);
});

test('and over 20 frames that were missed', () => {
  const { found, switches } = follow((i) => i % 41 >= 10 && i % 41 < 30);
  expect(found).toBeGreaterThan(20);
  expect(switches).toBe(0);
});
