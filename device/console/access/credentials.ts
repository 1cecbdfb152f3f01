/** Passwords and tokens: only their hashes are kept, in a file that nobody else may read. */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { SdkError } from 'scenebus';
import { z } from 'zod';
import { digest } from '../../http/secrets.js';
import { type Role, roleSchema } from './roles.js';

const derive = promisify<string, Buffer, number, Buffer>(scrypt);
const KEY_BYTES = 32;
export const MAX_TOKENS = 64;

const storedSchema = z.strictObject({
  version: z.literal(1),
  passwords: z.array(z.strictObject({ role: roleSchema, salt: z.base64(), hash: z.base64() })).max(3),
  tokens: z
    .array(
      z.strictObject({
        id: z.string(),
        name: z.string(),
        role: roleSchema,
        hash: z.base64(),
        createdAtMs: z.number(),
      }),
    )
    .max(MAX_TOKENS),
});

type Stored = z.infer<typeof storedSchema>;
export type TokenInfo = Omit<Stored['tokens'][number], 'hash'>;

export interface CredentialsOptions {
  /** undefined: kept in memory, gone with the process. */
  readonly file: string | undefined;
  /** The admin's, from the environment; wins over the file's. */
  readonly adminPassword?: string | undefined;
}

/** 256 random bits in the letters of addresses and headers. */
export function randomSecret(): string {
  return randomBytes(32).toString('base64url');
}

export class Credentials {
  readonly #file: string | undefined;
  readonly #adminPassword: Buffer | undefined;
  #stored: Stored;
  /** Good once; undefined when it was used, or when there is a password. */
  #link: Buffer | undefined;
  #writing: Promise<void> = Promise.resolve();

  private constructor({ file, adminPassword }: CredentialsOptions, stored: Stored) {
    this.#file = file;
    this.#adminPassword = adminPassword === undefined ? undefined : digest(adminPassword);
    this.#stored = stored;
  }

  /** @throws SdkError ERR_CONFIG_INVALID for a file that is none of ours: nobody is let in by mistake. */
  static async open(options: CredentialsOptions): Promise<Credentials> {
    const empty: Stored = { version: 1, passwords: [], tokens: [] };
    if (options.file === undefined) return new Credentials(options, empty);
    let text: string;
    try {
      text = await readFile(options.file, 'utf8');
    } catch (error) {
      // Not there yet, nor perhaps the disk that it will lie on.
      const { code = '' } = error as NodeJS.ErrnoException;
      if (['ENOENT', 'ENOTDIR'].includes(code)) return new Credentials(options, empty);
      throw invalid(options.file, String(error));
    }
    try {
      return new Credentials(options, storedSchema.parse(JSON.parse(text)));
    } catch (error) {
      throw invalid(options.file, error instanceof z.ZodError ? z.prettifyError(error) : String(error));
    }
  }

  get hasAdminPassword(): boolean {
    return this.#adminPassword !== undefined || this.#stored.passwords.some(({ role }) => role === 'admin');
  }

  /** Whether the admin's password comes from the environment, where only its owner changes it. */
  get isAdminPasswordFixed(): boolean {
    return this.#adminPassword !== undefined;
  }

  get passwordRoles(): Role[] {
    const roles = new Set(this.#stored.passwords.map(({ role }) => role));
    if (this.#adminPassword !== undefined) roles.add('admin');
    return [...roles];
  }

  get tokens(): readonly TokenInfo[] {
    return this.#stored.tokens.map(({ hash: _hash, ...info }) => info);
  }

  /** A secret that lets one browser in as admin, once. A new one replaces the last. */
  makeLink(): string {
    const secret = randomSecret();
    this.#link = digest(secret);
    return secret;
  }

  async checkPassword(role: Role, password: string): Promise<boolean> {
    if (role === 'admin' && this.#adminPassword !== undefined)
      return timingSafeEqual(this.#adminPassword, digest(password));
    const known = this.#stored.passwords.find((entry) => entry.role === role);
    // The same work whether or not there is a password: the time tells nothing.
    const salt = known === undefined ? Buffer.alloc(16) : Buffer.from(known.salt, 'base64');
    const derived = await derive(password, salt, KEY_BYTES);
    return known !== undefined && timingSafeEqual(derived, Buffer.from(known.hash, 'base64'));
  }

  /** The role that a secret from the one-time link gives; it is worthless from then on. */
  useLink(secret: string): Role | undefined {
    if (this.#link === undefined || !timingSafeEqual(this.#link, digest(secret))) return undefined;
    this.#link = undefined;
    return 'admin';
  }

  checkToken(secret: string): Role | undefined {
    const hash = digest(secret);
    return this.#stored.tokens.find((token) => timingSafeEqual(Buffer.from(token.hash, 'base64'), hash))?.role;
  }

  async setPassword(role: Role, password: string): Promise<void> {
    const salt = randomBytes(16);
    const hash = (await derive(password, salt, KEY_BYTES)).toString('base64');
    const others = this.#stored.passwords.filter((entry) => entry.role !== role);
    await this.#save({ ...this.#stored, passwords: [...others, { role, salt: salt.toString('base64'), hash }] });
    if (role === 'admin') this.#link = undefined;
  }

  /** @throws SdkError ERR_BUSY when there are too many */
  async addToken(
    name: string,
    role: Role,
    nowMs: number,
  ): Promise<{ readonly secret: string; readonly info: TokenInfo }> {
    if (this.#stored.tokens.length >= MAX_TOKENS)
      throw new SdkError('ERR_BUSY', `Expected at most ${MAX_TOKENS} tokens; revoke one that is not needed.`);
    const secret = randomSecret();
    const info = { id: randomBytes(8).toString('hex'), name, role, createdAtMs: nowMs };
    const entry = { ...info, hash: digest(secret).toString('base64') };
    await this.#save({ ...this.#stored, tokens: [...this.#stored.tokens, entry] });
    return { secret, info };
  }

  /** false: there was none of this id. */
  async removeToken(id: string): Promise<boolean> {
    const tokens = this.#stored.tokens.filter((token) => token.id !== id);
    if (tokens.length === this.#stored.tokens.length) return false;
    await this.#save({ ...this.#stored, tokens });
    return true;
  }

  async #save(stored: Stored): Promise<void> {
    this.#stored = stored;
    const file = this.#file;
    if (file === undefined) return;
    const write = async (): Promise<void> => {
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await writeFile(`${file}.part`, JSON.stringify(stored), { mode: 0o600 });
      await rename(`${file}.part`, file);
    };
    this.#writing = this.#writing.then(write, write);
    await this.#writing.catch((cause: unknown) => {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new SdkError(
        'ERR_DISK_FULL',
        `The change holds until the next start only: ${file} cannot be written (${why}).`,
        {
          cause,
        },
      );
    });
  }
}

function invalid(file: string, why: string): SdkError {
  return new SdkError(
    'ERR_CONFIG_INVALID',
    `The console's passwords cannot be read from ${file}: ${why}. Delete the file to start over with a one-time link.`,
    { details: { credentialsFile: file } },
  );
}
