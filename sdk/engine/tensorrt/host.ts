import type { TensorRtAddon } from './addon-types.js';
import type { LowerOptions } from './lowering.js';
import type { SelfTestOptions, SelfTestReport } from './self-test/report.js';

/** What runs plans: the addon, or what stands for it in a test. */
export interface TensorRtHost {
  readonly addon: TensorRtAddon;
  /** Changes with the kernels in it: their test is then repeated. */
  readonly identity: string;
  /** Element types; the default is what devices run. */
  readonly types?: LowerOptions['types'];
  /** false: the self-test leaves out the large picture, for tests of everything else about it. */
  readonly testsLargePicture?: boolean | undefined;
  /** Runs the self-test in a process of its own. Without it the test runs in this one. */
  readonly runSelfTest?: (options: SelfTestOptions) => Promise<SelfTestReport>;
}
