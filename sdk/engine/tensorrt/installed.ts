import { addonIdentity, engineAddon } from '../../native/index.js';
import type { TensorRtHost } from './host.js';
import { runIsolatedSelfTest } from './self-test/isolated.js';

/**
 * The addon that is installed here.
 * @throws SdkError ERR_NATIVE_UNAVAILABLE where there is none
 */
export function installedTensorRt(): TensorRtHost {
  return { addon: engineAddon(), identity: addonIdentity('scenebus_engine'), runSelfTest: runIsolatedSelfTest };
}
