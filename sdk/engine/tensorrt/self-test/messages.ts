/** Between the process that asks for a self-test and the one that runs it. */
import type { Progress } from '../../../core/logger.js';
import type { TensorRtMode } from '../lowering.js';
import type { SelfTestReport } from './report.js';

/** Asks for one run of the self-test; `layers`: intermediate tensors are compared too. */
export interface SelfTestRequest {
  readonly type: 'self-test';
  readonly mode: TensorRtMode;
  readonly layers: boolean;
  readonly cacheDirectory: string;
}

/** What the process that runs the self-test answers: progress, any number of times, then a report or an error. */
export type SelfTestMessage =
  | { readonly type: 'progress'; readonly progress: Progress }
  | { readonly type: 'report'; readonly report: SelfTestReport }
  | { readonly type: 'error'; readonly code: string; readonly message: string };
