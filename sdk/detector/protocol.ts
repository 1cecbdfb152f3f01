/** Between a detector and its process. */
import type { SerializedError } from '../core/errors.js';
import type { OutputTensor } from './decode.js';

/** To the process; `open` comes first. */
export type ToDetector =
  | { readonly type: 'open'; readonly id: number; readonly model: string; readonly threads: number }
  | {
      readonly type: 'run';
      readonly id: number;
      readonly input: string;
      readonly dims: readonly number[];
      readonly data: Float32Array;
      readonly outputs: readonly string[];
    }
  | { readonly type: 'end' };

/** From it: an answer for every `open` and `run`. */
export type FromDetector =
  | { readonly id: number; readonly outputs: Readonly<Record<string, OutputTensor>> }
  | { readonly id: number; readonly error: SerializedError };
