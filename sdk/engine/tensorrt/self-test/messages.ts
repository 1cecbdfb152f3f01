/** Between the process that asks for a self-test and the one that runs it. */
import type { Progress } from '../../../core/logger.js';
import type { TensorRtMode } from '../lowering.js';
import type { SelfTestReport } from './report.js';

export interface SelfTestRequest {
  readonly type: 'self-test';
  readonly mode: TensorRtMode;
  readonly layers: boolean;
  readonly cacheDirectory: string;
}

export type SelfTestMessage =
  | { readonly type: 'progress'; readonly progress: Progress }
  | { readonly type: 'report'; readonly report: SelfTestReport }
  | { readonly type: 'error'; readonly code: string; readonly message: string };
