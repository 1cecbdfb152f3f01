import { addonIdentity, engineAddon } from '../../native/index.js';
import type { TensorRtAddon } from './addon-types.js';
import type { LowerOptions } from './lowering.js';

/** What runs plans: the addon, or what stands for it in a test. */
export interface TensorRtHost {
  readonly addon: TensorRtAddon;
  /** Changes with the kernels in it: their test is then repeated. */
  readonly identity: string;
  /** Element types; the default is what devices run. */
  readonly types?: LowerOptions['types'];
}

/**
 * The addon that is installed here.
 * @throws SdkError ERR_NATIVE_UNAVAILABLE where there is none
 */
export function installedTensorRt(): TensorRtHost {
  return { addon: engineAddon(), identity: addonIdentity('scenebus_engine') };
}
