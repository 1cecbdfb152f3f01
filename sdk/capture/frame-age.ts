/** How old a picture is when somebody asks about it, and what to say about that. */
import { type Clock, systemClock } from '../core/clock.js';
import type { Frame } from '../core/types.js';
import type { Camera } from './camera.js';

/** Milliseconds since the capture. By the monotonic clock; for frames without its stamp by the wall clock. */
export function frameAgeMs(frame: Frame, clock: Clock = systemClock): number {
  const { capturedAtMonotonicMs: at } = frame;
  return Math.max(0, at === undefined ? clock.wallMs() - frame.capturedAtMs : clock.monotonicMs() - at);
}

/** `45 seconds`, `3 minutes`, `2 hours`, `5 days`. */
export function describeAge(ageMs: number): string {
  const steps = [
    [86_400_000, 'day'],
    [3_600_000, 'hour'],
    [60_000, 'minute'],
    [1_000, 'second'],
  ] as const;
  const [unitMs, unit] = steps.find(([atLeast]) => ageMs >= 2 * atLeast) ?? [1_000, 'second'];
  const count = Math.max(1, Math.round(ageMs / unitMs));
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}

/**
 * What someone who is told about this frame should know of it, in words; empty for a frame that is as good as now.
 * @param staleMs older frames count as old
 */
export function frameNotices(
  frame: Frame,
  camera: Pick<Camera, 'status'>,
  staleMs: number,
  clock: Clock = systemClock,
): string[] {
  const ageMs = frameAgeMs(frame, clock);
  const { state, error } = camera.status;
  if (state === 'ended') return [`The clip has ended: this is about its last frame, ${describeAge(ageMs)} old.`];
  const notices: string[] = [];
  if (ageMs > staleMs) notices.push(`This is about a frame that is ${describeAge(ageMs)} old: no newer one has come.`);
  if (state === 'stalled' && error !== undefined) {
    const seconds = error.details.seconds;
    const since = typeof seconds === 'number' ? ` for ${describeAge(seconds * 1000)}` : '';
    notices.push(`The camera's picture has not changed${since}: what it shows may be old.`);
  }
  return notices;
}
