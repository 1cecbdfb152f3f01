/** What of a configuration can be applied while the device runs, and what has to wait for its next start. */
import { isDeepStrictEqual } from 'node:util';
import type { CameraConfig, DeviceConfig } from '../config/schema.js';

export interface ConfigChanges {
  /** What holds now: the new one, but what needs a restart as it was. */
  readonly config: DeviceConfig;
  /** Paths of what changes at once, such as `describe.maxSilenceSeconds`, `cameras.front.masks`. */
  readonly applied: readonly string[];
  /** Paths of what the file says and only the next start honours. */
  readonly needsRestart: readonly string[];
}

const LIVE: readonly (keyof DeviceConfig)[] = [
  'cameras',
  'watches',
  'describe',
  'ask',
  'snapshots',
  'healthIntervalSeconds',
  'log',
];
/** How a camera is looked at; everything else of it says how it is opened. */
const LIVE_OF_CAMERA: readonly (keyof CameraConfig)[] = [
  'describe',
  'prompt',
  'minIntervalSeconds',
  'maxSilenceSeconds',
  'change',
  'schedule',
  'intrinsics',
  'mounting',
];

export function configChanges(now: DeviceConfig, next: DeviceConfig): ConfigChanges {
  const isLive = ([key]: [string, unknown]) => (LIVE as readonly string[]).includes(key);
  const config = {
    ...now,
    ...Object.fromEntries(Object.entries(next).filter(isLive)),
    // The model's own queue is as long as it was loaded with.
    ask: { ...next.ask, queueLength: now.ask.queueLength },
  } as DeviceConfig;
  return {
    config,
    applied: differences(byId(now), byId(config)),
    needsRestart: differences(byId(config), byId(next)),
  };
}

/** true: the same source opened in the same way, with the same parts covered. */
export function isSameSource(one: CameraConfig, other: CameraConfig): boolean {
  const source = (camera: CameraConfig) =>
    Object.entries(camera).filter(([key]) => !(LIVE_OF_CAMERA as readonly string[]).includes(key));
  return isDeepStrictEqual(new Map(source(one)), new Map(source(other)));
}

/** A camera is known by its id, wherever in the list it stands. */
function byId({ cameras, ...rest }: DeviceConfig): object {
  return { ...rest, cameras: Object.fromEntries(cameras.map(({ id, ...camera }) => [id, camera])) };
}

function differences(one: unknown, other: unknown, path = ''): string[] {
  if (isDeepStrictEqual(one, other)) return [];
  if (!isRecord(one) || !isRecord(other)) return [path];
  const keys = [...new Set([...Object.keys(one), ...Object.keys(other)])].sort();
  return keys.flatMap((key) => differences(one[key], other[key], path === '' ? key : `${path}.${key}`));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
