/** Where the text of a configuration lies, and the version before the last change. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, chown, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, extname, resolve } from 'node:path';
import { SdkError } from 'scenebus';
import { readConfigText } from '../load.js';

export interface ConfigStore {
  /** Without its folder: what people are shown. */
  readonly name: string;
  /** For errors and relative paths. */
  readonly file: string;
  readonly folder: string;
  readonly isJson: boolean;
  /** true: what is changed is gone when the device ends. */
  readonly isTemporary: boolean;
  /** Why `write` would fail, as far as it can be known before; undefined: it would not. */
  whyReadOnly(): Promise<string | undefined>;
  /** @throws SdkError ERR_CONFIG_INVALID for what cannot be read */
  read(): Promise<string>;
  /** Replaces the text as a whole and keeps what it replaces. @throws SdkError ERR_DISK_FULL when it cannot be written */
  write(text: string): Promise<void>;
  /** What `write` replaced last; undefined: nothing. */
  readPrevious(): Promise<string | undefined>;
}

/** Changes with every byte of the text: who changes a file says which one was seen. */
export function revisionOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

/** A file on a disk. Links are followed: what they point at is replaced, not they. */
export class ConfigFileStore implements ConfigStore {
  readonly file: string;
  readonly name: string;
  readonly folder: string;
  readonly isTemporary = false;

  constructor(file: string) {
    this.file = resolve(file);
    this.name = basename(file);
    this.folder = dirname(this.file);
  }

  get isJson(): boolean {
    return extname(this.file).toLowerCase() === '.json';
  }

  async whyReadOnly(): Promise<string | undefined> {
    const folder = dirname(await realpath(this.file).catch(() => this.file));
    const isWritable = await access(folder, constants.W_OK).then(
      () => true,
      () => false,
    );
    return isWritable ? undefined : this.#advice;
  }

  get #advice(): string {
    return `The folder of ${this.name} must be writable for the service. Under systemd: \`sudo chown scenebus ${this.folder}\` and \`ReadWritePaths=${this.folder}\` in \`systemctl edit scenebus\`; else change the file by hand and reload.`;
  }

  read(): Promise<string> {
    return readConfigText(this.file);
  }

  async write(text: string): Promise<void> {
    try {
      const file = await realpath(this.file);
      const previous = await readFile(file);
      const { mode, uid, gid } = await stat(file);
      await replace(`${file}.previous`, previous, { mode, uid, gid });
      await replace(file, text, { mode, uid, gid });
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new SdkError(
        'ERR_DISK_FULL',
        `Nothing is changed: ${this.name} cannot be written (${why}). ${this.#advice}`,
        { cause },
      );
    }
  }

  async readPrevious(): Promise<string | undefined> {
    const file = await realpath(this.file).catch(() => this.file);
    return await readConfigText(`${file}.previous`).catch(() => undefined);
  }
}

/** The configuration of a program that has no file, such as the demo: changes last as long as it runs. */
export class MemoryConfigStore implements ConfigStore {
  readonly file: string;
  readonly name: string;
  readonly folder: string;
  readonly isJson = false;
  readonly isTemporary = true;
  #text: string;
  #previous: string | undefined;

  constructor(text: string, { name, folder }: { readonly name: string; readonly folder: string }) {
    this.#text = text;
    this.name = name;
    this.file = name;
    this.folder = folder;
  }

  async whyReadOnly(): Promise<undefined> {
    return undefined;
  }

  async read(): Promise<string> {
    return this.#text;
  }

  async write(text: string): Promise<void> {
    this.#previous = this.#text;
    this.#text = text;
  }

  async readPrevious(): Promise<string | undefined> {
    return this.#previous;
  }
}

interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Whole or not at all, also when the power fails: a new file that takes the old one's name once it is on the disk. */
export async function replace(file: string, content: string | Uint8Array, attributes: Attributes): Promise<void> {
  const { mode, uid, gid } = attributes;
  const part = `${file}.part`;
  await rm(part, { force: true });
  // wx: never through a link that somebody put there.
  const handle = await open(part, 'wx', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  // Only root may give a file away; for others it is theirs already.
  await chown(part, uid, gid).catch(() => {});
  await chmod(part, mode & 0o777);
  await rename(part, file);
  const folder = await open(dirname(file), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
