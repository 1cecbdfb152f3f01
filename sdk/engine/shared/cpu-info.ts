import { readFileSync } from 'node:fs';
import os from 'node:os';

/** Threads that do not share a core: two on one core only take turns in arithmetic. */
export function physicalCores(): number {
  const threads = os.availableParallelism();
  try {
    const smtActive = readFileSync('/sys/devices/system/cpu/smt/active', 'utf8').trim() === '1';
    return smtActive ? Math.max(1, Math.ceil(threads / 2)) : threads;
  } catch {
    return threads; // no such file on this kernel
  }
}

/** For people: `AMD EPYC 9B14, 2 threads`. */
export function describeCpu(threads: number): string {
  const model = os.cpus()[0]?.model.trim().replace(/\s+/g, ' ');
  return `${model === undefined || model === '' ? os.arch() : model}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
}
