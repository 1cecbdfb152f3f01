import { readFile } from 'node:fs/promises';
import { type Bus, type Clock, type HealthInput, type Logger, systemClock } from 'scenebus';

export type ServiceState = HealthInput['state'];

export interface HealthReporterOptions {
  readonly bus: Bus;
  readonly logger: Logger;
  readonly intervalMs: number;
  readonly read: () => Pick<HealthInput, 'state' | 'problems'> & { readonly metrics: Readonly<Record<string, number>> };
  readonly clock?: Clock | undefined;
}

/** Publishes `health` now and then, and at once when something changed. */
export class HealthReporter implements AsyncDisposable {
  readonly #options: HealthReporterOptions;
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  #timer: NodeJS.Timeout | undefined;
  #tick: (() => Promise<unknown>) | undefined;
  #isQueued = false;
  #isClosed = false;
  #publishing: Promise<void> = Promise.resolve();

  constructor(options: HealthReporterOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#startedAtMs = this.#clock.monotonicMs();
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.publishSoon();
      void this.#tick?.();
    }, this.#options.intervalMs);
    this.publishSoon();
  }

  /** Something else to publish at the same pace. */
  onTick(tick: () => Promise<unknown>): void {
    this.#tick = tick;
  }

  /** Several changes at once become one message. */
  publishSoon(): void {
    if (this.#isQueued || this.#isClosed) return;
    this.#isQueued = true;
    this.#publishing = this.#publishing.then(() => this.#publish());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.publishSoon();
    this.#isClosed = true;
    await this.#publishing;
  }

  async #publish(): Promise<void> {
    const { bus, logger, read } = this.#options;
    this.#isQueued = false;
    try {
      const { metrics, ...rest } = read();
      await bus.publishHealth({
        ...rest,
        uptimeSeconds: Math.round((this.#clock.monotonicMs() - this.#startedAtMs) / 1000),
        memory: await readMemory(),
        metrics: { ...metrics, ...bus.stats },
      });
    } catch (error) {
      logger.log('warn', 'health was not published', { error });
    }
  }
}

async function readMemory(): Promise<Record<string, number>> {
  const info = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const availableKib = /^MemAvailable:\s*(\d+) kB/m.exec(info)?.[1];
  return {
    processRssBytes: process.memoryUsage.rss(),
    ...(availableKib === undefined ? {} : { availableBytes: Number(availableKib) * 1024 }),
  };
}
