import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { encodeJpeg, type Frame } from 'scenebus';
import { DEFAULT_ROOT } from 'scenebus/bus';
import type { DeviceConfig } from '../config/schema.js';
import type { JournalOptions } from '../journal/journal.js';
import type { OutletLimits } from '../journal/outlet.js';

type Environment = Readonly<Record<string, string | undefined>>;

const MEGABYTE = 1_000_000;
/** Sharp enough to read small print again, a fifth of the size of the best quality. */
const JPEG_QUALITY = 85;

/** Where a device keeps its events; undefined: nowhere. */
export function journalFile(
  { device, root, journal }: Pick<DeviceConfig, 'device' | 'root' | 'journal'>,
  environment: Environment = process.env,
): string | undefined {
  return journal.enabled ? join(deviceFolder({ device, root, journal }, environment), 'journal.db') : undefined;
}

function deviceFolder(
  { device, root, journal }: Pick<DeviceConfig, 'device' | 'root' | 'journal'>,
  environment: Environment,
): string {
  const name = root === DEFAULT_ROOT ? device : `${root}/${device}`;
  return join(journal.directory ?? stateDirectory(environment), fileName(name));
}

/** Where a device keeps what callers changed; undefined: nowhere. */
export function stateFile(config: DeviceConfig, name: string): string | undefined {
  const journal = journalFile(config);
  return journal && join(dirname(journal), name);
}

/** Where the console's one-time link waits for whoever may read it; also without a journal, until the device stops. */
export function consoleLinkFile(config: DeviceConfig, environment: Environment = process.env): string {
  return join(deviceFolder(config, environment), 'console-link');
}

export function journalOptions(config: DeviceConfig): Pick<JournalOptions, 'file' | 'limits' | 'encodeJpeg'> {
  const { frames, maxAgeDays, maxMegabytes } = config.journal;
  return {
    file: journalFile(config),
    limits: { maxAgeMs: maxAgeDays * 86_400_000, maxBytes: maxMegabytes * MEGABYTE },
    ...(frames ? { encodeJpeg: (frame: Frame) => encodeJpeg(frame, { quality: JPEG_QUALITY }) } : {}),
  };
}

export function outletLimits({ journal: { waiting } }: DeviceConfig): OutletLimits {
  const { maxEvents, maxMegabytes, maxAgeHours } = waiting;
  return { maxEvents, maxBytes: maxMegabytes * MEGABYTE, maxAgeMs: maxAgeHours * 3_600_000 };
}

/** systemd gives a service its folder; else the XDG Base Directory Specification. */
function stateDirectory(environment: Environment): string {
  const given = environment.STATE_DIRECTORY?.split(':')[0];
  return given || join(environment.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'scenebus');
}

/** Different names stay different, and none leads out of its folder: `..` is a name that a device may have. */
function fileName(name: string): string {
  return name.replace(/[^A-Za-z0-9_-]/g, (character) => `%${Buffer.from(character).toString('hex')}`);
}
