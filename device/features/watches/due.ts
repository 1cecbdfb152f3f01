import type { WatchDefinition } from 'scenebus/bus';

export interface Asked {
  /** Something has changed since it was asked. */
  readonly isStale: boolean;
  /** The last answer is not decided on yet. */
  readonly isUnsettled: boolean;
  readonly askedAtMs: number | undefined;
}

/** Whether a watch is to be asked now: at its interval, or else when the scene has changed. */
export function isDue(
  { intervalSeconds }: Pick<WatchDefinition, 'intervalSeconds'>,
  { isStale, isUnsettled, askedAtMs }: Asked,
  nowMs: number,
): boolean {
  if (intervalSeconds === undefined) return isStale || isUnsettled;
  return askedAtMs === undefined || nowMs - askedAtMs >= intervalSeconds * 1000;
}
