import type { AccuracyLevel } from './weights.js';

/** Raise when emitted graphs change: prepared caches of older versions are then rebuilt. */
export const GRAPH_VERSION = 4;

export interface GraphOptions {
  /** Folder that external data locations are relative to (`weightsRoot`). */
  readonly weightsRoot: string;
  /** Which side of the tapped vision layers becomes a feature: `inputs` as the weights were trained, `outputs` only for numerics `hf-5`. */
  readonly taps: 'inputs' | 'outputs';
  /** Positions that the rotary tables cover. */
  readonly contextLength: number;
  readonly accuracyLevel: AccuracyLevel;
  /** Adds the intermediate tensors that golden cases hold as outputs. */
  readonly instrument: boolean;
}
