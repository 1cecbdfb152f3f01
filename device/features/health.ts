import { readFile } from 'node:fs/promises';
import type { HealthInput } from 'scenebus/bus';
import type { FeatureContext } from './context.js';

export type ServiceState = HealthInput['state'];

export interface HealthSources {
  readonly state: () => ServiceState;
  /** Plain numbers by name; names carry units. */
  readonly metrics: () => Readonly<Record<string, number>>;
  /** Of the machine: temperatures and the like. */
  readonly telemetry?: (() => Promise<Readonly<Record<string, number>>>) | undefined;
}

type HealthContext = Pick<FeatureContext, 'config' | 'hub' | 'problems' | 'monotonicMs'>;

/** Says how the device is: now and then, and at once when something changed. */
export function startHealth(context: HealthContext, sources: HealthSources): HealthReporter {
  return new HealthReporter(context, sources);
}

export class HealthReporter implements AsyncDisposable {
  readonly #context: HealthContext;
  readonly #sources: HealthSources;
  readonly #startedAtMs: number;
  #timer: NodeJS.Timeout | undefined;
  readonly #stopListening: () => void;
  #isQueued = false;
  #isClosed = false;
  #reporting: Promise<void> = Promise.resolve();

  constructor(context: HealthContext, sources: HealthSources) {
    this.#context = context;
    this.#sources = sources;
    this.#startedAtMs = context.monotonicMs();
    this.#stopListening = context.hub.on('problem', () => this.reportSoon());
    this.reportSoon();
    this.#reportLater();
  }

  /** Several changes at once become one event. */
  reportSoon(): void {
    if (this.#isQueued || this.#isClosed) return;
    this.#isQueued = true;
    this.#reporting = this.#reporting.then(() => this.#report());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#stopListening();
    this.reportSoon();
    this.#isClosed = true;
    await this.#reporting;
  }

  /** The pause is looked up each time: the configuration may have changed. */
  #reportLater(): void {
    this.#timer = setTimeout(() => {
      this.reportSoon();
      this.#reportLater();
    }, this.#context.config.healthIntervalSeconds * 1000);
  }

  async #report(): Promise<void> {
    const { hub, problems, monotonicMs } = this.#context;
    this.#isQueued = false;
    const health = {
      state: this.#sources.state(),
      problems: [...problems.list],
      uptimeSeconds: Math.round((monotonicMs() - this.#startedAtMs) / 1000),
      metrics: { ...this.#sources.metrics(), ...(await this.#sources.telemetry?.()) },
    };
    await hub.emit('health', { ...health, memory: await readMemory() }, { isKept: false });
  }
}

/** Of this process and of the machine, bytes. */
export async function readMemory(): Promise<Record<string, number>> {
  const info = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const availableKib = /^MemAvailable:\s*(\d+) kB/m.exec(info)?.[1];
  return {
    processRssBytes: process.memoryUsage.rss(),
    ...(availableKib === undefined ? {} : { availableBytes: Number(availableKib) * 1024 }),
  };
}
