/** Numbers of things on the sample clip, by the boxes that a detector finds in its frames. */
import { beforeAll, expect, test } from 'vitest';
import { type DetectedFrame, detectClip, followThings, twentyMissed } from '../support/clip-tracks.js';

const SECONDS = 12;
const FPS = 5;
let seen: readonly DetectedFrame[];

beforeAll(async () => {
  seen = await detectClip(SECONDS, FPS);
}, 120_000);

test('boxes of a detector keep their numbers', () => {
  const { things, found, switches, labels } = followThings(seen, () => false);
  expect(found / things).toBeGreaterThan(0.95);
  expect([switches, labels >= 3]).toEqual([0, true]);
});

test('and over 20 frames that were missed', () => {
  const { found, switches } = followThings(seen, twentyMissed);
  expect(found).toBeGreaterThan(20);
  expect(switches).toBe(0);
});
