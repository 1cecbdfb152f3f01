/** A small piece of state that survives a restart: one JSON file, replaced whole. */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LIMITS, type Logger } from 'scenebus';
import type { z } from 'zod';

export interface KeptFileOptions<T> {
  /** undefined: nothing is kept. */
  readonly file: string | undefined;
  readonly schema: z.ZodType<T>;
  readonly logger: Logger;
}

/** A file that cannot be read or written stops nobody: it is told in the log, and a wrong one is set aside. */
export class KeptFile<T> {
  readonly #options: KeptFileOptions<T>;
  #next: T | undefined;
  #writing: Promise<void> | undefined;

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

  /** Resolves when this, or what came after it, is on the disk. Never rejects. */
  async write(value: T): Promise<void> {
    if (this.#options.file === undefined) return;
    this.#next = value;
    this.#writing ??= this.#writeAll(this.#options.file).finally(() => {
      this.#writing = undefined;
    });
    await this.#writing;
  }

  async #writeAll(file: string): Promise<void> {
    while (this.#next !== undefined) {
      const text = JSON.stringify(this.#next, undefined, 2);
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
      } catch (error) {
        this.#options.logger.log('error', `${file} cannot be written; a restart would lose the latest changes`, {
          error: String(error),
        });
      }
    }
  }
}
