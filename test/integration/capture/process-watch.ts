/** What capture hosts leave behind, read from the system. */
import { readdirSync, readFileSync } from 'node:fs';

/** Pids of living children of this process that run the capture host. */
export function captureHosts(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return new RegExp(`^PPid:\\t${process.pid}$`, 'm').test(status) && command.includes('capture/host/main.js');
      } catch {
        return false;
      }
    });
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Names in shared memory that belong to a ring which this process maps. */
export function mappedRings(): string[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('/dev/shm/scenebus-'));
}
