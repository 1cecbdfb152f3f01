import { readFileSync } from 'node:fs';

export interface ProcessMemory {
  /** Pages in memory now. */
  readonly rssBytes: number;
  /** The most there ever were. */
  readonly peakRssBytes: number;
  /** Of `rssBytes`, what is shared with other processes by name or descriptor: frames. */
  readonly sharedBytes: number;
}

/** As the system counts it; undefined when the process is gone. */
export function processMemory(pid: number): ProcessMemory | undefined {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return undefined;
  }
  const bytes = (field: string) => {
    const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  };
  const rssBytes = bytes('VmRSS'); // a process that has ended but was not waited for has none
  if (rssBytes === undefined) return undefined;
  return { rssBytes, peakRssBytes: bytes('VmHWM') ?? rssBytes, sharedBytes: bytes('RssShmem') ?? 0 };
}
