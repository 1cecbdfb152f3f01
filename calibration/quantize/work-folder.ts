/**
 * Where a folder is made before it appears: beside the output, so that one rename shows it. Kept unless its contents
 * are known to be of no use, so that the next run goes on; one process at a time.
 */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SdkError } from '#sdk/core/errors.js';
import { type LockOwner, ProcessLock } from '#sdk/core/process-lock.js';
import { makeParents } from './output-place.js';

export class WorkFolder {
  /** Exists once it is prepared. */
  readonly path: string;
  readonly #lock: ProcessLock;
  readonly #removeParents: () => Promise<void>;
  #isPrepared = false;

  private constructor(path: string, lock: ProcessLock, removeParents: () => Promise<void>) {
    this.path = path;
    this.#lock = lock;
    this.#removeParents = removeParents;
  }

  static pathFor(output: string): string {
    return join(dirname(output), `.${basename(output)}.partial`);
  }

  /**
   * Nobody else makes this output from here on.
   * @throws SdkError ERR_PREPARE_LOCKED another process makes it
   */
  static async take(output: string): Promise<WorkFolder> {
    // Beside the folder: whoever comes meanwhile writes nothing into a folder that is being removed.
    const lockFile = join(dirname(output), `.${basename(output)}.lock`);
    for (let attempt = 0; ; attempt += 1) {
      const removeParents = await makeParents(output);
      try {
        // Another host is never taken to be gone: two that write the same weights would spoil them.
        const lock = await ProcessLock.acquire(lockFile, { locked: (owner) => locked(lockFile, output, owner) });
        return new WorkFolder(WorkFolder.pathFor(output), lock, removeParents);
      } catch (error) {
        await removeParents();
        // Another, who had made the folders above, failed just now and removed them.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt > 10) throw error;
      }
    }
  }

  /** What a run left that was killed after its output had appeared. Work that is not done is not touched. */
  static async clearLeftover(output: string): Promise<void> {
    const path = WorkFolder.pathFor(output);
    const isLeftover = async () => (await exists(path)) && !(await exists(join(path, 'result')));
    if (!(await isLeftover())) return;
    const work = await WorkFolder.take(output);
    if (await isLeftover()) await work.remove();
    else await work.keep();
  }

  /** @param key What is being made, in full. Work under another key is thrown away. */
  async prepare(key: string): Promise<void> {
    const isSame = (await readFile(this.#keyFile, 'utf8').catch(() => '')) === key;
    this.#isPrepared = isSame;
    try {
      await mkdir(this.path, { recursive: true });
      if (!isSame) {
        await rm(this.#keyFile, { force: true }); // first: what is half removed belongs to no key
        for (const name of await readdir(this.path)) await removeAll(join(this.path, name));
        await writeFile(this.#keyFile, key);
      }
      await mkdir(this.result, { recursive: true });
      await mkdir(this.calibration, { recursive: true });
      this.#isPrepared = true;
    } catch (error) {
      if (!isSame) await removeAll(this.path).catch(() => {});
      throw error;
    }
  }

  /** The folder that becomes the output. */
  get result(): string {
    return join(this.path, 'result');
  }

  get calibration(): string {
    return join(this.path, 'calibration');
  }

  /** How far the weights are. */
  get journal(): string {
    return join(this.path, 'journal.json');
  }

  /** Whether there is something to go on with. */
  get isPrepared(): boolean {
    return this.#isPrepared;
  }

  /** The output appears. */
  async show(output: string): Promise<void> {
    // Without it, what stays after a kill right behind the rename says nothing of files that are not there any more.
    await rm(this.journal, { force: true });
    await rename(this.result, output);
  }

  /** For the next run with the same key. */
  async keep(): Promise<void> {
    await this.#lock[Symbol.asyncDispose]();
    if (!this.#isPrepared) await this.#removeParents();
  }

  async remove(): Promise<void> {
    try {
      await rm(this.#keyFile, { force: true });
      await removeAll(this.path);
    } finally {
      await this.#lock[Symbol.asyncDispose]();
      await this.#removeParents();
    }
  }

  get #keyFile(): string {
    return join(this.path, 'key');
  }
}

async function removeAll(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 5 });
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

function locked(lockFile: string, output: string, owner: LockOwner | undefined): SdkError {
  const who = owner === undefined ? 'Another process' : `Process ${owner.pid} on ${owner.host}`;
  return new SdkError(
    'ERR_PREPARE_LOCKED',
    `${who} is making ${output} at this moment. Wait for it; if there is no such process, delete ${lockFile}.`,
    { details: { lockFile, output, pid: owner?.pid, host: owner?.host } },
  );
}
