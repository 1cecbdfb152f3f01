/** The service as a unit of systemd: its file, and the commands that manage it. */
import { spawn } from 'node:child_process';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SdkError } from 'scenebus';

export const DEFAULT_UNIT_FOLDER = '/etc/systemd/system';
export const SERVICE_NAME = 'scenebus';

export interface UnitOptions {
  /** What is run: the program and its first arguments. */
  readonly command: readonly string[];
  /** Absolute. */
  readonly config: string;
  readonly user: string;
  /** That cameras and the GPU belong to, on this machine: systemd starts no unit with a group that is not there. */
  readonly groups: readonly string[];
}

/** The unit file of the package, with the paths and the user of this installation. */
export async function unitFile({ command, config, user, groups }: UnitOptions): Promise<string> {
  const template = await readFile(
    fileURLToPath(new URL('../../../device/systemd/scenebus.service', import.meta.url)),
    'utf8',
  );
  return template
    .replaceAll('/usr/bin/env scenebus', command.map(quoted).join(' '))
    .replaceAll('/etc/scenebus/config.yaml', quoted(config))
    .replace(/^User=.*$/m, `User=${user}`)
    .replace(/^SupplementaryGroups=.*\n/m, groups.length === 0 ? '' : `SupplementaryGroups=${groups.join(' ')}\n`);
}

/** Complete or not at all. @throws SdkError ERR_ARGUMENT_INVALID where it may not be written. */
export async function writeUnitFile(folder: string, text: string): Promise<string> {
  const file = join(folder, `${SERVICE_NAME}.service`);
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(`${file}.new`, text, { mode: 0o644 });
    await rename(`${file}.new`, file);
  } catch (error) {
    const remedy = (error as NodeJS.ErrnoException).code === 'EACCES' ? ' Call the command with sudo.' : '';
    throw new SdkError('ERR_ARGUMENT_INVALID', `Cannot write ${file}: ${(error as Error).message}.${remedy}`, {
      cause: error,
    });
  }
  return file;
}

export interface SystemCommandOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly onOutput: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs a program of the system and hands on what it writes.
 * @returns its exit status.
 * @throws SdkError ERR_ARGUMENT_INVALID where there is no such program; `signal.reason` when aborted.
 */
export async function runSystemCommand(
  program: string,
  args: readonly string[],
  { environment, onOutput, signal }: SystemCommandOptions,
): Promise<number> {
  signal?.throwIfAborted();
  const child = spawn(program, args, { env: { ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
  const onAbort = () => child.kill('SIGTERM');
  signal?.addEventListener('abort', onAbort, { once: true });
  for (const pipe of [child.stdout, child.stderr]) pipe.setEncoding('utf8').on('data', onOutput);
  try {
    const status = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => resolve(code ?? 1));
    });
    signal?.throwIfAborted();
    return status;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected a system with ${program}, as systemd brings it; there is none.`,
      {
        cause: error,
      },
    );
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** As systemd.syntax(7) wants it. `%` begins a specifier, `$` a variable. */
function quoted(word: string): string {
  const escaped = word.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /[\s"'\\;]/.test(word) ? `"${escaped.replace(/["\\]/g, '\\$&')}"` : escaped;
}
