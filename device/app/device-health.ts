/** How the device is: told on the bus now and then, and kept in the journal for the charts. */
import type { Bus } from 'scenebus/bus';
import type { DisposalStack } from 'scenebus/service';
import type { FeatureContext } from '../features/context.js';
import { type ServiceState, startHealth } from '../features/health.js';
import { HealthHistory } from '../features/health-history.js';
import type { UsageTotals } from '../features/usage-totals.js';
import type { Journal } from '../journal/journal.js';
import { TelemetryReader } from '../platform/jetson/telemetry.js';
import type { ModelSupervisor } from './model-supervisor.js';

/** Whose figures are told. */
export interface MeasuredDevice {
  readonly state: () => ServiceState;
  /** undefined while it is loaded for the first time. */
  readonly model: () => ModelSupervisor | undefined;
  readonly usage: UsageTotals;
  readonly bus: Bus;
  readonly journal: Journal;
  readonly resources: DisposalStack;
}

export function startHealthReports(
  context: Pick<FeatureContext, 'hub' | 'problems' | 'logger' | 'config' | 'feeds' | 'monotonicMs' | 'now'>,
  { state, resources, ...measured }: MeasuredDevice,
): ReturnType<typeof startHealth> {
  const metrics = () => deviceMetrics(measured);
  const machine = new TelemetryReader();
  const telemetry = () => machine.read();
  const health = resources.use(startHealth(context, { state, metrics, telemetry }));
  const { journal } = measured;
  resources.use(new HealthHistory(context, { metrics, telemetry }, { keep: (sample) => journal.recordHealth(sample) }));
  return health;
}

function deviceMetrics({
  model: currentModel,
  usage,
  bus,
  journal,
}: Pick<MeasuredDevice, 'model' | 'usage' | 'bus' | 'journal'>): Readonly<Record<string, number>> {
  const model = currentModel();
  const modelMemory = model?.memory;
  const waiting = model?.stats?.waiting;
  return {
    modelRestarts: model?.restarts ?? 0,
    questionsWaiting: waiting === undefined ? 0 : waiting.urgent + waiting.question,
    serviceMemoryBytes: process.memoryUsage.rss(),
    ...(modelMemory && { modelMemoryBytes: modelMemory.rssBytes }),
    ...usage.metrics,
    ...bus.stats,
    ...journal.metrics,
  };
}
