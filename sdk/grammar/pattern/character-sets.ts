/** Sets of code points as intervals in rising order. */
import { ALL_CODE_POINTS, type Interval, LAST_CODE_POINT } from '../automata/dfa.js';

export function normalizedSet(intervals: readonly Interval[]): readonly Interval[] {
  const merged: [number, number][] = [];
  for (const [low, high] of [...intervals].sort(([a], [b]) => a - b)) {
    const last = merged.at(-1);
    if (last !== undefined && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else merged.push([low, high]);
  }
  return merged;
}

export function intersectSets(a: readonly Interval[], b: readonly Interval[]): readonly Interval[] {
  const common: Interval[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    const low = Math.max(a[i]![0], b[j]![0]);
    const high = Math.min(a[i]![1], b[j]![1]);
    if (low <= high) common.push([low, high]);
    if (a[i]![1] < b[j]![1]) i++;
    else j++;
  }
  return common;
}

export function invertSet(intervals: readonly Interval[]): readonly Interval[] {
  const outside: Interval[] = [];
  let from = 0;
  for (const [low, high] of normalizedSet(intervals)) {
    if (low > from) outside.push([from, low - 1]);
    from = high + 1;
  }
  if (from <= LAST_CODE_POINT) outside.push([from, LAST_CODE_POINT]);
  return intersectSets(outside, ALL_CODE_POINTS);
}

const properties = new Map<string, readonly Interval[] | undefined>();
const MAX_PROPERTIES = 64;

/** Characters of a Unicode property, as this runtime knows them; undefined for none that it knows. */
export function propertySet(name: string): readonly Interval[] | undefined {
  if (properties.has(name)) return properties.get(name);
  if (properties.size >= MAX_PROPERTIES) properties.clear();
  const found = readProperty(name);
  properties.set(name, found);
  return found;
}

function readProperty(name: string): readonly Interval[] | undefined {
  let runs: RegExp;
  try {
    runs = new RegExp(`\\p{${name}}+`, 'gu');
  } catch {
    return undefined;
  }
  const intervals: Interval[] = [];
  for (const [low, high] of ALL_CODE_POINTS) {
    for (let start = low; start <= high; start += 0x8000) {
      const end = Math.min(start + 0x7fff, high);
      const text = String.fromCodePoint(...Array.from({ length: end - start + 1 }, (_, i) => start + i));
      const width = start > 0xffff ? 2 : 1; // of a code point in UTF-16; no block has both
      for (const { 0: run, index } of text.matchAll(runs)) {
        const first = start + index / width;
        intervals.push([first, first + run.length / width - 1]);
      }
    }
  }
  return normalizedSet(intervals);
}
