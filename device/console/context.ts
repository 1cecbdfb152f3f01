/** What the console is given of the device. */
import type { Logger } from 'scenebus';
import type { ConfigStore } from '../config/editing/config-store.js';
import type { Environment } from '../config/environment.js';
import type { DeviceConfig } from '../config/schema.js';
import type { EventHub } from '../events/hub.js';
import type { Feed, ModelAccess } from '../features/context.js';
import type { StandingWatches } from '../features/watches/start-watches.js';
import type { Journal } from '../journal/journal.js';
import type { Finding } from '../platform/doctor/finding.js';

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

export interface LicenceText {
  readonly name: string;
  readonly text: string;
}

/** Under which terms this product and its model are used. */
export interface Licences {
  /** Of SceneBus itself. */
  readonly product: readonly LicenceText[];
  readonly model: {
    /** Why the model is under the Llama Community License; null: nothing says so. */
    readonly llama: string | null;
    readonly texts: readonly LicenceText[];
    /** What the licence asks of whoever runs or hands on this device. */
    readonly duties: readonly string[];
  };
}

export interface ConsoleDevice {
  readonly config: DeviceConfig;
  readonly hub: EventHub;
  readonly journal: Pick<Journal, 'query' | 'frame' | 'pictures' | 'healthSeries'>;
  readonly logger: Logger;
  /** Empty until the cameras are open. */
  readonly feeds: () => readonly Feed[];
  /** undefined until it was loaded for the first time. */
  readonly model: () => ModelAccess | undefined;
  readonly licences: () => Promise<Licences>;
  /** Sends a request to this device over its broker, as any caller would. @throws SdkError ERR_BUS_* */
  readonly checkBroker: (signal: AbortSignal) => Promise<{ readonly roundTripMs: number }>;
  /** What a check of the configuration and the broker finds, besides what `diagnose` does. */
  readonly checkConfig: (signal: AbortSignal) => Promise<readonly Finding[]>;
  /** Where it is kept how far the set-up has come; undefined: nowhere. */
  readonly setupFile: string | undefined;
  /** undefined: the program that runs the device has no file. */
  readonly settings?: ConfigAccess | undefined;
  /** undefined until the model was there for the first time. */
  readonly watches: () => StandingWatches | undefined;
  readonly broker: () => BrokerInfo;
}
