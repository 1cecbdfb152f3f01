/** What a self-test is asked, and what it says. */
import type { OpenEngineOptions } from '../../options.js';
import type { TensorRtMode } from '../lowering.js';
import type { SampleCheck } from './compare.js';

export interface SelfTestOptions
  extends Pick<OpenEngineOptions, 'cacheDirectory' | 'onProgress' | 'logger' | 'signal'> {
  readonly mode: TensorRtMode;
  /** Layer by layer: other plans than those that serve, so both are worth running. */
  readonly layers: boolean;
}

export interface SelfTestReport {
  readonly mode: TensorRtMode;
  readonly layers: boolean;
  /** In the order of computation; empty when nothing could be run. */
  readonly checks: readonly SampleCheck[];
  /** Null: passed. Else what differs first and by how much, or why nothing ran. */
  readonly reason: string | null;
  /** The device or the process failed, rather than a value: nothing that the same process says afterwards counts. */
  readonly isDeviceFailure: boolean;
}
