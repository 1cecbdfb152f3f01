/** The power mode that nvpmodel has set: it bounds clocks of GPU and memory, and so every number of tokens per second. */

export interface PowerMode {
  readonly id: number;
  /** `MAXN_SUPER`; null when `/etc/nvpmodel.conf` does not name it. */
  readonly name: string | null;
  /** The mode without limits, where there is one and it is not set. */
  readonly faster: { readonly id: number; readonly name: string } | null;
}

/**
 * @param status `/var/lib/nvpmodel/status`: `pmode:0002`
 * @param config `/etc/nvpmodel.conf`, whose modes begin with `< POWER_MODEL ID=0 NAME=MAXN >`
 */
export function parsePowerMode(status: string, config: string | null): PowerMode | null {
  const found = /pmode:(\d+)/.exec(status);
  if (found === null) return null;
  const id = Number(found[1]);
  const modes = Array.from((config ?? '').matchAll(/^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>/gm), (mode) => ({
    id: Number(mode[1]),
    name: mode[2]!,
  }));
  const name = modes.find((mode) => mode.id === id)?.name ?? null;
  // "MAXN" has all clocks free; where the board has a "MAXN_SUPER", that one has more.
  const free = modes.find((mode) => mode.name === 'MAXN_SUPER') ?? modes.find((mode) => mode.name === 'MAXN');
  return { id, name, faster: free === undefined || free.id === id ? null : free };
}
