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

/** How to leave a power mode that holds the model back; undefined: nothing to do. */
export function powerModeAdvice({ powerMode }: JetsonBoard): string | undefined {
  if (powerMode === null || powerMode.faster === null) return undefined;
  const { id, name } = powerMode.faster;
  return `the power mode limits clocks: \`sudo nvpmodel -m ${id}\` sets ${name}, \`sudo jetson_clocks\` holds the clocks up; then build the engine anew`;
}
