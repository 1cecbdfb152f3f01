/** What the console is given of the device. */
import type { Logger } from 'scenebus';
import type { ConfigStore } from '../config/editing/config-store.js';
import type { Environment } from '../config/environment.js';
import type { DeviceConfig } from '../config/schema.js';
import type { EventHub } from '../events/hub.js';
import type { Feed, ModelAccess } from '../features/context.js';
import type { StandingWatches } from '../features/watches/start-watches.js';
import type { Journal } from '../journal/journal.js';

/** Paths of settings that a change touches. */
export interface SettingChanges {
  readonly applied: readonly string[];
  readonly needsRestart: readonly string[];
}

/** The file that the device was started with. */
export interface ConfigAccess {
  readonly store: ConfigStore;
  /** For references in the file. */
  readonly environment: Environment;
  /** What `reload` would do. */
  changesTo(next: DeviceConfig): SettingChanges;
  reload(next: DeviceConfig): Promise<SettingChanges>;
}

export interface ConsoleDevice {
  readonly config: DeviceConfig;
  readonly hub: EventHub;
  readonly journal: Pick<Journal, 'query' | 'frame' | 'pictures'>;
  readonly logger: Logger;
  /** Empty until the cameras are open. */
  readonly feeds: () => readonly Feed[];
  /** undefined until it was loaded for the first time. */
  readonly model: () => ModelAccess | undefined;
  /** undefined: the program that runs the device has no file. */
  readonly settings?: ConfigAccess | undefined;
  /** undefined until the model was there for the first time. */
  readonly watches: () => StandingWatches | undefined;
  readonly broker: () => { readonly address: string; readonly state: 'connecting' | 'online' | 'offline' | 'closed' };
}
