/** Which Jetson modules have the memory for a model. */

export interface JetsonModule {
  readonly name: string;
  /** On the label. */
  readonly memoryGiB: number;
}

/** Smallest first. */
export const ORIN_MODULES: readonly JetsonModule[] = [
  { name: 'Orin Nano 8 GB', memoryGiB: 8 },
  { name: 'Orin NX 8 GB', memoryGiB: 8 },
  { name: 'Orin NX 16 GB', memoryGiB: 16 },
  { name: 'AGX Orin 32 GB', memoryGiB: 32 },
  { name: 'AGX Orin 64 GB', memoryGiB: 64 },
];

/** What the firmware keeps for itself is gone before Linux counts: 7.4 of 8 GiB are left, 15.3 of 16. */
const FIRMWARE_SHARE = 0.05;
/** Linux without a desktop, the service, its camera and the processor's part of TensorRT. */
const SYSTEM_BYTES = 1.5 * 2 ** 30;

/** What a module has left for a model. GPU and processor share one memory. */
export function modelBytesOf({ memoryGiB }: Pick<JetsonModule, 'memoryGiB'>): number {
  return memoryGiB * (1 - FIRMWARE_SHARE) * 2 ** 30 - SYSTEM_BYTES;
}

/** Modules that have room for so many bytes, smallest first. */
export function modulesThatFit(neededBytes: number): readonly JetsonModule[] {
  return ORIN_MODULES.filter((module) => modelBytesOf(module) >= neededBytes);
}

/** The sentence after "does not fit here". */
export function describeFittingModules(neededBytes: number): string {
  const fitting = modulesThatFit(neededBytes);
  if (fitting.length === 0) return 'No Orin module has room for it; use a smaller or an int4 model.';
  if (fitting.length === ORIN_MODULES.length) return 'It fits every Orin module.';
  return `It fits ${fitting.map(({ name }) => name).join(', ')}.`;
}
