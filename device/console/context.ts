/** What the console is given of the device. */
import type { Logger } from 'scenebus';
import type { DeviceConfig } from '../config/schema.js';
import type { EventHub } from '../events/hub.js';
import type { Feed, ModelAccess } from '../features/context.js';
import type { StandingWatches } from '../features/watches/start-watches.js';
import type { Journal } from '../journal/journal.js';

export interface ConsoleDevice {
  readonly config: DeviceConfig;
  readonly hub: EventHub;
  readonly journal: Pick<Journal, 'query' | 'frame' | 'pictures'>;
  readonly logger: Logger;
  /** Empty until the cameras are open. */
  readonly feeds: () => readonly Feed[];
  /** undefined until it was loaded for the first time. */
  readonly model: () => ModelAccess | undefined;
  /** undefined until the model was there for the first time. */
  readonly watches: () => StandingWatches | undefined;
  readonly broker: () => { readonly address: string; readonly state: 'connecting' | 'online' | 'offline' | 'closed' };
}
