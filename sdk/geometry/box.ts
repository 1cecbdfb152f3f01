/** Arithmetic on boxes that are normalised to a frame (0 = left/top, 1 = right/bottom). */
import type { Box } from '../core/types.js';

/** 0 for a box that is empty or inside out. */
export function boxArea(box: Box): number {
  return Math.max(0, box.x2 - box.x1) * Math.max(0, box.y2 - box.y1);
}

/** The part of a box that lies in the frame; undefined when nothing does or a coordinate is not finite. */
export function clampBox(box: Box): Box | undefined {
  const clamped = { x1: clamp01(box.x1), y1: clamp01(box.y1), x2: clamp01(box.x2), y2: clamp01(box.y2) };
  return boxArea(clamped) > 0 ? clamped : undefined;
}

/**
 * Intersection over union, 0–1.
 * @example intersectionOverUnion({ x1: 0, y1: 0, x2: 1, y2: 1 }, { x1: 0, y1: 0, x2: 0.5, y2: 1 }) // 0.5
 */
export function intersectionOverUnion(a: Box, b: Box): number {
  const width = Math.min(a.x2, b.x2) - Math.max(a.x1, b.x1);
  const height = Math.min(a.y2, b.y2) - Math.max(a.y1, b.y1);
  if (!(width > 0 && height > 0)) return 0;
  const intersection = width * height;
  return intersection / (boxArea(a) + boxArea(b) - intersection);
}

/** Nearest whole pixels `[x1, y1, x2, y2]`, x2/y2 exclusive; at least one pixel wide and high. Expects a clamped box. */
export function boxToPixels(box: Box, width: number, height: number): [number, number, number, number] {
  const [x1, x2] = pixelSpan(box.x1, box.x2, width);
  const [y1, y2] = pixelSpan(box.y1, box.y2, height);
  return [x1, y1, x2, y2];
}

function pixelSpan(from: number, to: number, size: number): [number, number] {
  const start = Math.min(Math.round(from * size), size - 1);
  return [start, Math.max(Math.round(to * size), start + 1)];
}

function clamp01(value: number): number {
  return Math.min(1, Math.max(0, value));
}
