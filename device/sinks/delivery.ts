import { isSdkError, type Logger } from 'scenebus';
import type { Outlet, PendingEvent } from '../journal/outlet.js';

export interface DeliveryOptions {
  readonly outlet: Outlet;
  /** Resolves when the other side has it for good; ERR_BUS_UNREACHABLE: the connection is gone. */
  readonly send: (pending: PendingEvent) => Promise<unknown>;
  readonly isConnected: () => boolean;
  readonly logger: Logger;
  /** Events on their way at once. */
  readonly window?: number | undefined;
  /** After an outage everything that waited comes at this pace, and not in one flood. */
  readonly maxPerSecond: number;
  readonly monotonicMs?: (() => number) | undefined;
}

const DEFAULT_WINDOW = 16;
/** Connected, and yet nothing goes out: the connection is being made ready, or has just gone. */
const RETRY_MS = 250;

/** Takes events out of an outlet and sends them: in order, at least once, paced. */
export class Delivery implements AsyncDisposable {
  readonly #options: DeliveryOptions;
  readonly #window: number;
  readonly #monotonicMs: () => number;
  readonly #underWay = new Set<Promise<void>>();
  #isLost = false;
  #isStopped = false;
  #timer: NodeJS.Timeout | undefined;
  /** Events that may go out at this moment; grows with time up to a second's worth. */
  #credit: number;
  #creditAtMs: number;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#window = options.window ?? DEFAULT_WINDOW;
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now());
    this.#credit = options.maxPerSecond;
    this.#creditAtMs = this.#monotonicMs();
    options.outlet.onEvent(() => this.pump());
    this.pump();
  }

  /** To be called when the connection is there again. */
  pump(): void {
    const { outlet, isConnected } = this.#options;
    clearTimeout(this.#timer);
    while (!this.#isStopped && !this.#isLost && this.#underWay.size < this.#window) {
      if (!isConnected() || outlet.length === this.#underWay.size) return;
      const pauseMs = this.#pauseMs();
      if (pauseMs > 0) {
        this.#pumpIn(pauseMs);
        return;
      }
      const pending = outlet.take();
      if (pending === undefined) return;
      this.#credit -= 1;
      const sending: Promise<void> = this.#send(pending).finally(() => {
        this.#underWay.delete(sending);
        this.#afterOne();
      });
      this.#underWay.add(sending);
    }
  }

  /** Takes nothing more. What is on its way ends by itself; what was not acknowledged comes again with the next start. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  async #send(pending: PendingEvent): Promise<void> {
    const { outlet, send, logger } = this.#options;
    try {
      await send(pending);
      outlet.done(pending.record);
    } catch (error) {
      if (isSdkError(error, 'ERR_BUS_UNREACHABLE') || isSdkError(error, 'ERR_DISPOSED')) {
        this.#isLost = true;
        return;
      }
      // It would be refused again and hold up everything behind it.
      outlet.refused(pending.record);
      const { id, kind } = pending.record;
      logger.log('warn', `an event could not be delivered`, { id, kind, error: String(error) });
    }
  }

  #afterOne(): void {
    if (!this.#isLost) {
      this.pump();
      return;
    }
    // First everything that was on its way has to have come back: only then is the order known.
    if (this.#underWay.size > 0) return;
    this.#options.outlet.rewind();
    this.#isLost = false;
    this.#pumpIn(RETRY_MS);
  }

  #pumpIn(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#isStopped) return;
    this.#timer = setTimeout(() => this.pump(), ms);
    this.#timer.unref();
  }

  #pauseMs(): number {
    const { maxPerSecond } = this.#options;
    const now = this.#monotonicMs();
    this.#credit = Math.min(maxPerSecond, this.#credit + ((now - this.#creditAtMs) / 1000) * maxPerSecond);
    this.#creditAtMs = now;
    return this.#credit >= 1 ? 0 : Math.ceil(((1 - this.#credit) / maxPerSecond) * 1000);
  }
}
