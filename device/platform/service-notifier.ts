/** Tells systemd how the service is: ready, alive, reloading, stopping. Does nothing where nobody started it so. */
import { notifyServiceManager } from 'scenebus/service';

export interface ServiceNotifierOptions {
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  readonly notify?: (message: string) => void;
  /** Milliseconds of the system's monotonic clock. */
  readonly monotonicMs?: () => number;
  readonly pid?: number | undefined;
}

/** A start may take long (a model is quantised once): systemd is asked for more time while it goes on. */
const START_BEAT_MS = 15_000;
const START_EXTENSION_MS = 60_000;

export class ServiceNotifier implements Disposable {
  readonly #notify: (message: string) => void;
  readonly #monotonicMs: () => number;
  /** undefined: systemd watches nothing. */
  readonly #watchdogMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #status: string | undefined;

  constructor(options: ServiceNotifierOptions = {}) {
    const { environment = process.env, pid = process.pid } = options;
    this.#notify = options.notify ?? ((message) => void notifyServiceManager(message, environment));
    // The clock that systemd compares with (CLOCK_MONOTONIC).
    this.#monotonicMs = options.monotonicMs ?? (() => Number(process.hrtime.bigint() / 1_000_000n));
    this.#watchdogMs = watchdogMs(environment, pid);
  }

  starting(): void {
    const extend = () => this.#notify(`EXTEND_TIMEOUT_USEC=${1_000 * START_EXTENSION_MS}`);
    extend();
    this.#every(START_BEAT_MS, extend);
  }

  /** From now on a life sign comes twice in the time that the watchdog grants: a main thread that hangs sends none. */
  ready(): void {
    this.#notify('READY=1');
    clearInterval(this.#timer);
    if (this.#watchdogMs === undefined) return;
    this.#notify('WATCHDOG=1');
    this.#every(this.#watchdogMs / 2, () => this.#notify('WATCHDOG=1'));
  }

  /** What `systemctl status` shows. */
  status(text: string): void {
    if (text === this.#status) return;
    this.#status = text;
    this.#notify(`STATUS=${text.replace(/\s+/g, ' ')}`);
  }

  /** `reloaded` must follow. */
  reloading(): void {
    this.#notify(`RELOADING=1\nMONOTONIC_USEC=${Math.round(1_000 * this.#monotonicMs())}`);
  }

  reloaded(): void {
    this.#notify('READY=1');
  }

  stopping(): void {
    this.#notify('STOPPING=1');
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #every(pauseMs: number, work: () => void): void {
    clearInterval(this.#timer);
    this.#timer = setInterval(work, pauseMs);
    this.#timer.unref();
  }
}

function watchdogMs(environment: Readonly<Record<string, string | undefined>>, pid: number): number | undefined {
  const microseconds = Number(environment.WATCHDOG_USEC);
  // Another process is meant when the number is another's: it was inherited.
  const isOurs = environment.WATCHDOG_PID === undefined || Number(environment.WATCHDOG_PID) === pid;
  return isOurs && microseconds > 0 ? microseconds / 1_000 : undefined;
}
