/** One life of a capture host: from its start to the end of the source, its failure, or its hanging. */
import { SdkError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { redactText } from './address.js';
import { type FrameRing, openFrameRing } from './frame-ring.js';
import type { FromHost, PlannedMessage, RingMessage, StartMessage } from './host/protocol.js';
import { CaptureHost } from './host-process.js';

export type SessionEnd =
  | { readonly type: 'ended' }
  | { readonly type: 'closed' }
  | {
      readonly type: 'failed';
      readonly error: SdkError;
      /** Set when it could not be opened this way and there is another: what came of this one. */
      readonly tryNext?: string | undefined;
    };

export interface SessionHandlers {
  onPlanned(message: PlannedMessage): void;
  /** A new ring takes the place of the one before; or only the frames' size has changed. */
  onRing(ring: FrameRing, message: RingMessage): void;
  /** A frame is there that was waited for. */
  onDoorbell(): void;
}

export class HostSession {
  readonly #start: StartMessage;
  readonly #secrets: readonly string[];
  readonly #handlers: SessionHandlers;
  readonly #logger: Logger;
  readonly #end: Promise<SessionEnd>;
  #settle: (end: SessionEnd) => void = () => {};
  #host: CaptureHost | undefined;
  #ring: FrameRing | undefined;
  #ringName = '';
  #timer: NodeJS.Timeout | undefined;
  readonly #openTimeoutMs: number;
  readonly #startedAt = performance.now();
  /** Ways to open it that are left after this one. */
  #waysLeft = 0;

  /** `openTimeoutMs`: for this way and all that are left after it. */
  constructor(
    start: StartMessage,
    openTimeoutMs: number,
    secrets: readonly string[],
    handlers: SessionHandlers,
    logger: Logger,
  ) {
    this.#start = start;
    this.#openTimeoutMs = openTimeoutMs;
    this.#secrets = secrets;
    this.#handlers = handlers;
    this.#logger = logger;
    this.#end = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  get hostPid(): number | undefined {
    return this.#host?.pid;
  }

  get ring(): FrameRing | undefined {
    return this.#ring;
  }

  /** Runs to the end and leaves no process behind. The last ring stays open; it is the caller's to close. */
  async run(): Promise<SessionEnd> {
    const host = new CaptureHost({
      onMessage: (message) => this.#onMessage(message),
      onDoorbell: () => this.#handlers.onDoorbell(),
      onDeath: (error) => this.#fail(error, 'the capture process crashed'),
      onLine: (line) => this.#logger.log('debug', `capture host: ${redactText(line, this.#secrets)}`),
    });
    this.#host = host;
    this.#limitOpening(this.#openTimeoutMs);
    host.send(this.#start);
    const end = await this.#end;
    clearTimeout(this.#timer);
    await host.stop();
    return end;
  }

  close(): void {
    this.#settle({ type: 'closed' });
  }

  #limitOpening(afterMs: number): void {
    clearTimeout(this.#timer);
    const { openTimeoutMs } = this.#start.settings;
    const timer = setTimeout(() => {
      // After a long task of this thread the timer comes first, the host's message right after it.
      setImmediate(() => {
        if (this.#timer !== timer) return;
        this.#fail(
          new SdkError(
            'ERR_CAPTURE_TIMEOUT',
            `Expected a first frame within ${openTimeoutMs} ms (openTimeoutMs), but none came. Check the camera, or allow it more time.`,
            { details: { openTimeoutMs } },
          ),
          'no frame in time',
        );
      });
    }, afterMs);
    this.#timer = timer;
  }

  /** `openFailure`: why this way did not open the source, when that is the case. */
  #fail(error: SdkError, openFailure?: string): void {
    const details = Object.fromEntries(
      Object.entries(error.details).map(([key, value]) => [
        key,
        typeof value === 'string' ? redactText(value, this.#secrets) : value,
      ]),
    );
    this.#settle({
      type: 'failed',
      error: new SdkError(error.code, redactText(error.message, this.#secrets), { details }),
      tryNext: this.#ring === undefined && this.#waysLeft > 0 ? openFailure : undefined,
    });
  }

  #onMessage(message: FromHost): void {
    switch (message.type) {
      case 'planned':
        this.#handlers.onPlanned(message);
        this.#waysLeft = message.attempts - this.#start.attempt - 1;
        // One that hangs must leave time for the next.
        this.#limitOpening(this.#openTimeoutMs / (this.#waysLeft + 1) - (performance.now() - this.#startedAt));
        return;
      case 'ring':
        this.#onRing(message);
        return;
      case 'warning':
        this.#logger.log('warn', redactText(message.message, this.#secrets));
        return;
      case 'ended':
        this.#settle({ type: 'ended' });
        return;
      case 'failed':
        this.#fail(new SdkError(message.code, message.message), message.openFailure);
        return;
    }
  }

  #onRing(message: RingMessage): void {
    try {
      if (message.name !== this.#ringName) {
        const ring = openFrameRing(message.name);
        if (!ring) return; // the message about its successor is on its way
        const old = this.#ring;
        this.#ring = ring;
        this.#ringName = message.name;
        old?.close();
        clearTimeout(this.#timer);
        this.#watch(ring);
      }
      if (this.#ring) this.#handlers.onRing(this.#ring, message);
    } catch (error) {
      this.#fail(error instanceof SdkError ? error : new SdkError('ERR_CAPTURE_HOST_DIED', String(error)));
    }
  }

  /** Looks at a counter in shared memory a few times in `timeoutMs`: watching costs no message and no copy. */
  #watch(ring: FrameRing): void {
    const { timeoutMs } = this.#start.settings;
    let beat = ring.heartbeat();
    let seenAt = performance.now();
    this.#timer = setInterval(
      () => {
        const now = performance.now();
        const current = ring.heartbeat();
        if (current !== beat) {
          beat = current;
          seenAt = now;
        } else if (now - seenAt >= timeoutMs) {
          this.#fail(
            new SdkError(
              'ERR_CAPTURE_TIMEOUT',
              `Expected a frame within ${timeoutMs} ms (timeoutMs), but the source hangs. Its capture process is being replaced; if it happens often, check cable, power and network.`,
              { details: { timeoutMs } },
            ),
          );
        }
      },
      Math.min(Math.max(timeoutMs / 5, 50), 1000),
    );
  }
}
