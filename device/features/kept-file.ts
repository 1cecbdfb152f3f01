/** A small piece of state that survives a restart: one JSON file, replaced whole. */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { LIMITS, type Logger, SdkError } from 'scenebus';
import type { z } from 'zod';
import type { Problems } from '../events/problems.js';

export interface KeptFileOptions<T> {
  /** undefined: nothing is kept. */
  readonly file: string | undefined;
  readonly schema: z.ZodType<T>;
  readonly logger: Logger;
  /** Where it is told that the file cannot be written. */
  readonly problems?: Pick<Problems, 'report' | 'clear'> | undefined;
  /** Pause before the disk is tried again: doubles from the first to the last. */
  readonly backoff?: { readonly initialMs: number; readonly maximumMs: number } | undefined;
}

const DEFAULT_BACKOFF = { initialMs: 1_000, maximumMs: 60_000 };

/**
 * A file that cannot be read or written stops nobody: it is told in the log, and a wrong one is set aside. What cannot be
 * written is a problem of the device, and is tried again until it can.
 */
export class KeptFile<T> implements AsyncDisposable {
  readonly #options: KeptFileOptions<T>;
  #next: T | undefined;
  #writing: Promise<void> | undefined;
  #retryMs = 0;
  #retryTimer: NodeJS.Timeout | undefined;
  #isDisposed = false;

  constructor(options: KeptFileOptions<T>) {
    this.#options = options;
  }

  /** undefined: there is none. */
  async read(): Promise<T | undefined> {
    const { file, schema, logger } = this.#options;
    if (file === undefined) return undefined;
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        logger.log('warn', `${file} cannot be read`, { error: String(error) });
      return undefined;
    }
    try {
      if (text.length > LIMITS.configFileBytes)
        throw new Error(`expected at most ${LIMITS.configFileBytes} characters`);
      return schema.parse(JSON.parse(text));
    } catch (error) {
      const aside = `${file}.damaged`;
      logger.log('error', `${file} is not what was written there; it is kept as ${aside}`, { error: String(error) });
      await rename(file, aside).catch((reason: unknown) => logger.log('warn', 'It stays', { error: String(reason) }));
      return undefined;
    }
  }

  /** Resolves when this, or what came after it, is on the disk, or cannot be now. Never rejects. */
  async write(value: T): Promise<void> {
    this.#next = value;
    await this.#write();
  }

  /** Waits for what is being written, so that who starts next reads it. What could not be written is not tried again. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    clearTimeout(this.#retryTimer);
    await this.#writing;
  }

  async #write(): Promise<void> {
    if (this.#options.file === undefined) return;
    clearTimeout(this.#retryTimer);
    this.#writing ??= this.#writeAll(this.#options.file).finally(() => {
      this.#writing = undefined;
    });
    await this.#writing;
  }

  async #writeAll(file: string): Promise<void> {
    while (this.#next !== undefined) {
      const value = this.#next;
      const text = JSON.stringify(value, undefined, 2);
      this.#next = undefined;
      try {
        await mkdir(dirname(file), { recursive: true });
        const handle = await open(`${file}.new`, 'w', 0o600);
        try {
          await handle.writeFile(text);
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(`${file}.new`, file);
        this.#written(file);
      } catch (error) {
        this.#next ??= value;
        this.#retryLater(file, error);
        return;
      }
    }
  }

  #written(file: string): void {
    if (this.#retryMs === 0) return;
    this.#retryMs = 0;
    const { logger, problems } = this.#options;
    logger.log('info', `${file} is written again`);
    problems?.clear(partOf(file));
  }

  #retryLater(file: string, error: unknown): void {
    const { logger, problems, backoff = DEFAULT_BACKOFF } = this.#options;
    this.#retryMs = Math.min(this.#retryMs === 0 ? backoff.initialMs : 2 * this.#retryMs, backoff.maximumMs);
    const message = `${file} cannot be written (${String(error)}); a restart would lose the latest changes. It is tried again.`;
    logger.log('error', message);
    const isFull = ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
    const code = isFull ? 'ERR_DISK_FULL' : 'ERR_JOURNAL_UNAVAILABLE';
    problems?.report(partOf(file), new SdkError(code, message, { cause: error }));
    if (this.#isDisposed) return;
    this.#retryTimer = setTimeout(() => void this.#write(), this.#retryMs);
    this.#retryTimer.unref();
  }
}

/** As problems name it. */
function partOf(file: string): string {
  return `file/${basename(file)}`;
}
