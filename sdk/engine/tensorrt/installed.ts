import { addonIdentity, engineAddon } from '../../native/index.js';
import type { TensorRtHost } from './host.js';
import { runIsolatedSelfTest } from './self-test/isolated.js';

/** What this machine has. */
export function installedTensorRt(): TensorRtHost {
  return { addon: engineAddon(), identity: addonIdentity('scenebus_engine'), runSelfTest: runIsolatedSelfTest };
}
