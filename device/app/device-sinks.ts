/** Everybody who is told what happens on this device. */
import type { Logger } from 'scenebus';
import type { Bus } from 'scenebus/bus';
import type { DisposalStack } from 'scenebus/service';
import type { DeviceConfig } from '../config/schema.js';
import type { EventHub } from '../events/hub.js';
import type { Journal } from '../journal/journal.js';
import { MetricsSink } from '../sinks/metrics-sink.js';
import { type AnswerEvents, MqttSink } from '../sinks/mqtt-sink.js';
import { outletLimits } from './journal-options.js';
import type { OutwardSinks } from './outward-sinks.js';

export interface DeviceSinks {
  readonly hub: EventHub;
  readonly journal: Journal;
  readonly bus: Bus;
  readonly logger: Logger;
  /** The one that holds when it is asked for. */
  readonly config: () => DeviceConfig;
  readonly outward: OutwardSinks;
  readonly answers: AnswerEvents;
  readonly resources: DisposalStack;
}

export async function startSinks({ outward, answers, resources, ...common }: DeviceSinks): Promise<void> {
  const { hub, journal, bus, logger } = common;
  const config = common.config();
  const limits = outletLimits(config);
  const { maxPerSecond } = config.journal.waiting;
  const cameras = config.cameras.map(({ id }) => id);
  const sceneExpirySeconds = config.describe.expirySeconds;
  const delivery = { limits, maxPerSecond, cameras, sceneExpirySeconds };
  resources.use(await MqttSink.start({ hub, journal, bus, logger, ...delivery }));
  resources.use(await outward.start(common));
  resources.defer(() => answers.stop());
  if (config.metrics) resources.use(await MetricsSink.start({ hub, logger, ...config.metrics }));
}
