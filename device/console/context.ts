/** What the console is given of the device. */
import type { Logger } from 'scenebus';
import type { DeviceConfig } from '../config/schema.js';
import type { EventHub } from '../events/hub.js';
import type { Feed, ModelAccess } from '../features/context.js';
import type { Journal } from '../journal/journal.js';

/** The connection to the broker. */
export interface BrokerInfo {
  /** Without credentials. */
  readonly address: string;
  readonly state: 'connecting' | 'online' | 'offline' | 'closed';
  /** 4 is 3.1.1; undefined while there is no connection. */
  readonly protocolVersion?: number | undefined;
  /** Since the start, by name. */
  readonly counters?: Readonly<Record<string, number>> | undefined;
}

export interface ConsoleDevice {
  readonly config: DeviceConfig;
  readonly hub: EventHub;
  readonly journal: Pick<Journal, 'query' | 'frame' | 'healthSeries'>;
  readonly logger: Logger;
  /** Empty until the cameras are open. */
  readonly feeds: () => readonly Feed[];
  /** undefined until it was loaded for the first time. */
  readonly model: () => ModelAccess | undefined;
  readonly broker: () => BrokerInfo;
}
