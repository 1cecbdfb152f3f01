import { readFileSync } from 'node:fs';

/** Of /proc/…/status, in bytes; `peak` is the most that was resident at any time. */
export interface Memory {
  readonly resident: number;
  readonly anonymous: number;
  readonly mappedFiles: number;
  readonly peak: number;
}

/** All 0 for a process that has ended. */
export function memoryOf(pid: number): Memory {
  const status = readStatus(pid);
  const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
  const [resident, peak] = [bytes('VmRSS'), bytes('VmHWM')];
  return { resident, anonymous: bytes('RssAnon'), mappedFiles: bytes('RssFile') + bytes('RssShmem'), peak };
}

function readStatus(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}
