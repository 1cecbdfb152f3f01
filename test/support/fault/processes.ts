/** What /proc says of the processes of a device. */
import { readdirSync, readFileSync } from 'node:fs';

/** Where the code of a child lies. */
const CODE = { model: 'sdk/model/process', capture: 'sdk/capture/host' } as const;
export type ChildPart = keyof typeof CODE;

/** The living child of a process that does this part; undefined: there is none. */
export function childOf(parent: number, part: ChildPart): number | undefined {
  return childrenOf(parent).find((pid) => read(`/proc/${pid}/cmdline`).includes(CODE[part]));
}

/** Living children. */
export function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const [state, itsParent] = fieldsAfterName(`/proc/${pid}`);
      return itsParent === String(parent) && state !== 'Z';
    });
}

export function isAlive(pid: number): boolean {
  const [state] = fieldsAfterName(`/proc/${pid}`);
  return state !== undefined && state !== 'Z';
}

/** Whether a process has loaded a library whose name holds this. */
export function hasLoaded(pid: number, library: string): boolean {
  return read(`/proc/${pid}/maps`).includes(library);
}

export interface ProcessFigures {
  readonly rssBytes: number;
  /** Its share of what it has in common with others is counted once. */
  readonly pssBytes: number;
  readonly descriptors: number;
  readonly threads: number;
}

/** undefined: it is gone. */
export function figuresOf(pid: number): ProcessFigures | undefined {
  const rollup = read(`/proc/${pid}/smaps_rollup`);
  const kilobytes = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1]);
  const threads = /^Threads:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1];
  let descriptors: number;
  try {
    descriptors = readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return undefined;
  }
  const rssBytes = kilobytes('Rss') * 1024;
  if (!Number.isFinite(rssBytes) || threads === undefined) return undefined;
  return { rssBytes, pssBytes: kilobytes('Pss') * 1024, descriptors, threads: Number(threads) };
}

export interface ThreadFigures {
  readonly name: string;
  /** Processor time: user and system at 100 ticks a second (proc(5), fields 14 and 15). */
  readonly seconds: number;
  /** How often it went to sleep by itself, which is how often it was woken. */
  readonly wakeups: number;
}

/** Of each living thread, by its id. */
export function threadFigures(pid: number): ReadonlyMap<number, ThreadFigures> {
  const folder = `/proc/${pid}/task`;
  return new Map(
    readdirSync(folder).map((tid) => {
      const fields = fieldsAfterName(`${folder}/${tid}`);
      const name = read(`${folder}/${tid}/comm`).trim();
      const seconds = (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
      const wakeups = Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(read(`${folder}/${tid}/status`))?.[1] ?? 0);
      return [Number(tid), { name, seconds, wakeups }];
    }),
  );
}

/** proc(5), stat: what stands behind a name that may hold spaces and brackets. */
function fieldsAfterName(folder: string): string[] {
  const text = read(`${folder}/stat`);
  return text === '' ? [] : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return ''; // ended meanwhile
  }
}
