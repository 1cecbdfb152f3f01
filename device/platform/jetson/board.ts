/** What a Jetson says about itself in files that anybody may read. */
import type { Machine } from '../machine.js';
import { type PowerMode, parsePowerMode } from './power-mode.js';
import { type JetsonRelease, parseJetsonRelease } from './release.js';

export interface JetsonBoard {
  /** `NVIDIA Jetson AGX Orin Developer Kit`; null when the device tree does not say. */
  readonly model: string | null;
  readonly release: JetsonRelease;
  readonly powerMode: PowerMode | null;
}

/** Null: this machine is no Jetson. */
export async function readJetsonBoard(machine: Pick<Machine, 'readText'>): Promise<JetsonBoard | null> {
  const release = parseJetsonRelease((await machine.readText('/etc/nv_tegra_release')) ?? '');
  if (release === null) return null;
  // The device tree ends its strings with a zero byte.
  const model = (await machine.readText('/proc/device-tree/model'))?.replaceAll('\0', '').trim() || null;
  const status = await machine.readText('/var/lib/nvpmodel/status');
  const config = await machine.readText('/etc/nvpmodel.conf');
  return { model, release, powerMode: status === null ? null : parsePowerMode(status, config) };
}

/** `Orin NX, JetPack 6.2 (L4T 36.4.3), power mode MAXN (0)` */
export function describeBoard({ model, release, powerMode }: JetsonBoard): string {
  const jetPack = release.jetPack === null ? `L4T ${release.l4t}` : `JetPack ${release.jetPack} (L4T ${release.l4t})`;
  const mode = powerMode === null ? [] : [`power mode ${powerMode.name ?? 'without a name'} (${powerMode.id})`];
  return [model ?? 'Jetson', jetPack, ...mode].join(', ');
}

/** What is known to go wrong with a release that works otherwise. */
export function releaseAdvice({ release }: JetsonBoard): string | undefined {
  if (release.l4t !== '36.4.7') return undefined;
  return 'L4T 36.4.7 refuses large allocations of the GPU while the page cache holds memory: upgrade to 36.5 (`sudo apt update && sudo apt full-upgrade`)';
}

/** TensorRT that comes with a release, and what is known of the two. A version is never inferred: it is asked for. */
export function describePair({ release }: JetsonBoard, libraryVersion: string): string {
  const [major, minor, patch] = libraryVersion.split('.').map(Number) as [number, number, number];
  const number = major * 10_000 + minor * 100 + (patch || 0);
  const l4tMajor = Number(release.l4t.split('.')[0]);
  if (l4tMajor === 36 && major === 10 && minor === 3) return 'a known pair';
  if (l4tMajor === 36 && major > 10)
    return 'not a known pair: JetPack 6 stays on TensorRT 10, this is of another repository';
  if (l4tMajor === 39 && major === 10 && minor === 16) return 'a known pair';
  if (l4tMajor === 39 && number >= 11_04_01) return 'a known pair, from JetPack 7.2.2 on';
  if (l4tMajor === 39 && major === 11) return 'not a known pair: AGX Orin is supported from TensorRT 11.4.1 on';
  return 'not a known pair: the self-test decides';
}

/** How to leave a power mode that holds the model back; undefined: nothing to do. */
export function powerModeAdvice({ powerMode }: JetsonBoard): string | undefined {
  if (powerMode === null || powerMode.faster === null) return undefined;
  const { id, name } = powerMode.faster;
  return `the power mode limits clocks: \`sudo nvpmodel -m ${id}\` sets ${name}, \`sudo jetson_clocks\` holds the clocks up; then rebuild the engine`;
}
