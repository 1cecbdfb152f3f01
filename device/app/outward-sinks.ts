/** What this device tells systems with conventions of their own: Home Assistant, receivers of ONVIF events. */
import type { Logger } from 'scenebus';
import type { Bus, OutwardOptions } from 'scenebus/bus';
import { DisposalStack } from 'scenebus/service';
import { z } from 'zod';
import type { DeviceConfig } from '../config/schema.js';
import type { EventHub } from '../events/hub.js';
import { KeptFile } from '../features/kept-file.js';
import type { Journal } from '../journal/journal.js';
import { type Announced, birthTopic, discoveryPlace, HomeAssistantSink } from '../sinks/home-assistant/sink.js';
import { OnvifSink } from '../sinks/onvif-sink.js';
import { outletLimits, stateFile } from './journal-options.js';

const level = z.string().min(1).max(1_024);
const announcedSchema = z
  .object({
    prefix: z.string().min(1).max(512),
    levels: z.array(level).min(1).max(16),
    components: z.record(z.string(), z.enum(['sensor', 'binary_sensor', 'switch'])),
    metrics: z.array(z.string()).max(64),
  })
  .nullable() as z.ZodType<Announced | null>;

export interface OutwardSinkParts {
  readonly bus: Bus;
  readonly hub: EventHub;
  readonly journal: Journal;
  /** As it is now. */
  readonly config: () => DeviceConfig;
  readonly logger: Logger;
}

/** Knows which places they need before there is a bus. */
export class OutwardSinks {
  readonly places: OutwardOptions;
  readonly #file: KeptFile<Announced | null>;
  readonly #before: Announced | undefined;

  private constructor(config: DeviceConfig, file: KeptFile<Announced | null>, before: Announced | undefined) {
    this.#file = file;
    this.#before = before;
    const { root, device, homeAssistant, onvif } = config;
    const prefix = homeAssistant?.discoveryPrefix;
    const publish = [
      ...(prefix === undefined ? [] : [discoveryPlace(prefix, root, device).prefix]),
      ...(onvif === undefined ? [] : [topicPrefixOf(config)]),
      ...(before === undefined ? [] : [before.prefix]),
    ];
    this.places = { publish: [...new Set(publish)], listen: prefix === undefined ? [] : [birthTopic(prefix)] };
  }

  static async open(config: DeviceConfig, logger: Logger): Promise<OutwardSinks> {
    const file = new KeptFile({ file: stateFile(config, 'home-assistant.json'), schema: announcedSchema, logger });
    const before = (await file.read()) ?? undefined;
    // With another topic root it may be a place that no device may write to.
    const isOutside = before !== undefined && !`${before.prefix}/`.startsWith(`${config.root}/`);
    return new OutwardSinks(config, file, isOutside ? before : undefined);
  }

  /** To be disposed before the bus is. */
  async start({ bus, hub, journal, config, logger }: OutwardSinkParts): Promise<AsyncDisposable> {
    const resources = new DisposalStack();
    resources.use(this.#file);
    const { homeAssistant, onvif, journal: settings } = config();
    if (homeAssistant !== undefined || this.#before !== undefined) {
      const keep = (announced: Announced | undefined) => this.#file.write(announced ?? null);
      const discoveryPrefix = homeAssistant?.discoveryPrefix;
      const sceneExpirySeconds = () => config().describe.expirySeconds;
      resources.use(
        new HomeAssistantSink({ hub, bus, logger, discoveryPrefix, sceneExpirySeconds, before: this.#before, keep }),
      );
    }
    if (onvif === undefined) await OnvifSink.forget(journal);
    else {
      const { maxPerSecond } = settings.waiting;
      const limits = outletLimits(config());
      const topicPrefix = topicPrefixOf(config());
      resources.use(await OnvifSink.start({ journal, bus, logger, limits, maxPerSecond, topicPrefix }));
    }
    return resources;
  }
}

function topicPrefixOf({ device, onvif }: DeviceConfig): string {
  return onvif?.topicPrefix ?? device;
}
