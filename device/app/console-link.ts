/** Who starts a device gets its console's one-time link: on a terminal, else through a file that nobody else reads. */
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface LinkedConsole {
  readonly consoleAddress: string | undefined;
  makeConsoleLink(): string | undefined;
}

export interface InvitationOptions {
  /** Of the stream that the words go to. What is no terminal ends in a log that others keep and read. */
  readonly isTerminal: boolean;
  /** Where the link goes instead; undefined: nowhere. */
  readonly file: string | undefined;
}

/** What to say of a console; undefined: there is none. With a token in it on a terminal only. */
export async function consoleInvitation(
  service: LinkedConsole,
  { isTerminal, file }: InvitationOptions,
): Promise<string | undefined> {
  const address = service.consoleAddress;
  if (address === undefined) return undefined;
  if (!isTerminal && file === undefined) return `${address} (its one-time link is shown on a terminal only)`;
  const link = service.makeConsoleLink();
  if (link === undefined) return address;
  if (isTerminal || file === undefined) return link;
  try {
    await writePrivate(file, `${link}\n`);
    return `${address} (a link that lets one browser in, once, is in ${file})`;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return `${address} (its one-time link cannot be written to ${file}: ${why}; give SCENEBUS_CONSOLE_PASSWORD)`;
  }
}

/** A new file each time: the mode of one that is there would stay. */
async function writePrivate(file: string, text: string): Promise<void> {
  const part = `${file}.part`;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await rm(part, { force: true });
  await writeFile(part, text, { mode: 0o600, flag: 'wx' });
  await rename(part, file);
}
