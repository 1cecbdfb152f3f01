/**
 * Where a folder is made before it appears: beside the output, so that one rename shows it. Kept after a kill or an
 * abort, so that the next run goes on; one process at a time.
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { SdkError } from '#sdk/core/errors.js';

const ownerSchema = z.object({ pid: z.int(), host: z.string(), started: z.string(), run: z.string() });
type Owner = z.infer<typeof ownerSchema>;

export class WorkFolder {
  readonly path: string;
  readonly #lockFile: string;

  private constructor(path: string, lockFile: string) {
    this.path = path;
    this.#lockFile = lockFile;
  }

  /**
   * @param key What is being made, in full. Work under another key is thrown away.
   * @throws SdkError ERR_PREPARE_LOCKED another process makes this output
   */
  static async open(output: string, key: string): Promise<WorkFolder> {
    const path = join(dirname(output), `.${basename(output)}.partial`);
    const lockFile = join(path, 'lock');
    for (let attempt = 0; ; attempt += 1) {
      await mkdir(path, { recursive: true });
      try {
        await acquire(lockFile, output);
        break;
      } catch (error) {
        // Its owner was done just now and removed the folder under us.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt > 10) throw error;
      }
    }
    const folder = new WorkFolder(path, lockFile);
    if ((await readFile(join(path, 'key'), 'utf8').catch(() => '')) !== key) {
      for (const name of await readdir(path)) {
        if (!name.startsWith('lock')) await rm(join(path, name), { recursive: true, force: true });
      }
      await writeFile(join(path, 'key'), key);
    }
    await mkdir(folder.result, { recursive: true });
    await mkdir(folder.calibration, { recursive: true });
    return folder;
  }

  /** The folder that becomes the output. */
  get result(): string {
    return join(this.path, 'result');
  }

  get calibration(): string {
    return join(this.path, 'calibration');
  }

  /** For the next run with the same key. */
  async keep(): Promise<void> {
    await rm(this.#lockFile, { force: true });
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

/** Of this process: two calls at once in one process are two owners. */
const held = new Set<string>();

async function acquire(lockFile: string, output: string): Promise<void> {
  const run = randomUUID();
  const owner: Owner = { pid: process.pid, host: hostname(), started: await startOf(process.pid), run };
  // Written beside and linked into place: nobody ever sees half of it.
  const draft = `${lockFile}-${run}`;
  await writeFile(draft, JSON.stringify(owner));
  try {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await link(draft, lockFile);
        held.add(run);
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const text = await readFile(lockFile, 'utf8').catch(() => undefined);
      if (text === undefined) continue; // released just now
      const other = ownerOf(text);
      if ((other !== undefined && (await isRunning(other))) || attempt > 10) throw locked(lockFile, output, other);
      // A process that ended. Whoever manages to take its lock away may try again.
      const taken = `${lockFile}-${randomUUID()}`;
      await rename(lockFile, taken).catch(() => {});
      const seen = await readFile(taken, 'utf8').catch(() => undefined);
      // Another one was faster and this is its lock: back with it.
      if (seen !== undefined && seen !== text) await link(taken, lockFile).catch(() => {});
      await rm(taken, { force: true });
    }
  } finally {
    await rm(draft, { force: true });
  }
}

function ownerOf(text: string): Owner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

async function isRunning({ pid, host, started, run }: Owner): Promise<boolean> {
  if (host !== hostname()) return true; // a shared disk: nothing is known of the other machine
  if (pid === process.pid) return held.has(run);
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  // Numbers of processes come again, in containers soon.
  return started === (await startOf(pid));
}

/** Ticks after boot at which a process began (proc(5), field 22 of stat); its name may hold spaces and brackets. */
async function startOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function locked(lockFile: string, output: string, owner: Owner | undefined): SdkError {
  const who = owner === undefined ? 'Another process' : `Process ${owner.pid} on ${owner.host}`;
  return new SdkError(
    'ERR_PREPARE_LOCKED',
    `${who} is making ${output} at this moment. Wait for it; if there is no such process, delete ${lockFile}.`,
    { details: { lockFile, output, pid: owner?.pid, host: owner?.host } },
  );
}
