/**
 * Where a folder is made before it appears: beside the output, so that one rename shows it. Kept after a kill or an
 * abort, so that the next run goes on; one process at a time.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SdkError } from '#sdk/core/errors.js';
import { type LockOwner, ProcessLock } from '#sdk/core/process-lock.js';

export class WorkFolder {
  readonly path: string;
  readonly #lock: ProcessLock;

  private constructor(path: string, lock: ProcessLock) {
    this.path = path;
    this.#lock = lock;
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
        // Another host is never taken to be gone: two that write the same weights would spoil them.
        const lock = await ProcessLock.acquire(lockFile, { locked: (owner) => locked(lockFile, output, owner) });
        return await new WorkFolder(path, lock).#prepared(key);
      } catch (error) {
        // Its owner was done just now and removed the folder under us.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt > 10) throw error;
      }
    }
  }

  async #prepared(key: string): Promise<this> {
    try {
      if ((await readFile(join(this.path, 'key'), 'utf8').catch(() => '')) !== key) {
        for (const name of await readdir(this.path)) {
          if (!name.startsWith('lock')) await rm(join(this.path, name), { recursive: true, force: true });
        }
        await writeFile(join(this.path, 'key'), key);
      }
      await mkdir(this.result, { recursive: true });
      await mkdir(this.calibration, { recursive: true });
      return this;
    } catch (error) {
      await this.keep();
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

  /** For the next run with the same key. */
  async keep(): Promise<void> {
    await this.#lock[Symbol.asyncDispose]();
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
    await this.#lock[Symbol.asyncDispose]();
  }
}

function locked(lockFile: string, output: string, owner: LockOwner | undefined): SdkError {
  const who = owner === undefined ? 'Another process' : `Process ${owner.pid} on ${owner.host}`;
  return new SdkError(
    'ERR_PREPARE_LOCKED',
    `${who} is making ${output} at this moment. Wait for it; if there is no such process, delete ${lockFile}.`,
    { details: { lockFile, output, pid: owner?.pid, host: owner?.host } },
  );
}
