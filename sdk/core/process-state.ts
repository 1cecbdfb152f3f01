import { readFileSync } from 'node:fs';

/** How often the process table is asked, milliseconds. */
export const PROCESS_LOOK_MS = 1000;
/** A process that is stopped and goes on at once, as at a terminal, is no loss. */
const LOOKS = 2;

/**
 * Whether a process stays stopped (SIGSTOP): it gives no sign of that but in the process table. To be asked every
 * PROCESS_LOOK_MS; true from the second time in a row on.
 */
export function watchStopped(pid: () => number | undefined): () => boolean {
  let looks = 0;
  return () => {
    looks = isStopped(pid()) ? looks + 1 : 0;
    return looks >= LOOKS;
  };
}

/** proc(5), stat: the field behind a name that may hold spaces and brackets. `t`, stopped by a debugger, does not count. */
function isStopped(pid: number | undefined): boolean {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).startsWith('T');
  } catch {
    return false;
  }
}
