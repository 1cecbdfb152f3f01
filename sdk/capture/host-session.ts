/** One life of a capture host: from its start to the end of the source, its failure, or its hanging. */
import { type Clock, systemClock } from '../core/clock.js';
import { SdkError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { PROCESS_LOOK_MS, watchStopped } from '../core/process-state.js';
import { type FrameRing, openFrameRing } from './frame-ring.js';
import type { FromHost, PlannedMessage, RingMessage, StartMessage } from './host/protocol.js';
import { CaptureHost } from './host-process.js';

export type SessionEnd =
  /** `clipHash`: not certain, see FromHost. */
  | { readonly type: 'ended'; readonly clipHash: string }
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
  /** Frames arrive, but the picture does not change; repeated while that lasts. */
  onFrozen(pictureHash: string): void;
  /** It changes again, or does not stand still as it did when the source was open before. */
  onMoving(): void;
}

/** Longest wait of a recording's own times, native/capture/videoSource.cpp; slow sources wait a few intervals. */
const LONGEST_PAUSE_MS = 5000;

export class HostSession {
  readonly #start: StartMessage;
  readonly #handlers: SessionHandlers;
  readonly #logger: Logger;
  readonly #end: Promise<SessionEnd>;
  #settle: (end: SessionEnd) => void = () => {};
  #host: CaptureHost | undefined;
  #ring: FrameRing | undefined;
  #ringName = '';
  #timer: NodeJS.Timeout | undefined;
  readonly #openTimeoutMs: number;
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  #processTimer: NodeJS.Timeout | undefined;
  /** SIGSTOP. */
  #isHostStopped = false;
  /** Ways to open it that are left after this one. */
  #waysLeft = 0;

  /** `openTimeoutMs`: for this way and all that are left after it. */
  constructor(
    start: StartMessage,
    openTimeoutMs: number,
    handlers: SessionHandlers,
    logger: Logger,
    clock: Clock = systemClock,
  ) {
    this.#start = start;
    this.#openTimeoutMs = openTimeoutMs;
    this.#clock = clock;
    this.#startedAtMs = clock.monotonicMs();
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
      onLine: (line) => this.#logger.log('debug', `capture host: ${line}`),
    });
    this.#host = host;
    this.#limitOpening(this.#openTimeoutMs);
    host.send(this.#start);
    this.#watchProcess(host);
    const end = await this.#end;
    clearTimeout(this.#timer);
    clearInterval(this.#processTimer);
    await host.stop(this.#isHostStopped ? 0 : undefined);
    return end;
  }

  close(): void {
    this.#settle({ type: 'closed' });
  }

  /** Ends it as a loss, as when it had failed by itself. */
  lose(error: SdkError): void {
    this.#fail(error);
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
    }, afterMs).unref();
    this.#timer = timer;
  }

  /** `openFailure`: why this way did not open the source, when that is the case. */
  #fail(error: SdkError, openFailure?: string): void {
    this.#settle({
      type: 'failed',
      error,
      tryNext: this.#ring === undefined && this.#waysLeft > 0 ? openFailure : undefined,
    });
  }

  #onMessage(message: FromHost): void {
    switch (message.type) {
      case 'planned':
        this.#handlers.onPlanned(message);
        this.#waysLeft = message.attempts - this.#start.attempt - 1;
        // One that hangs must leave time for the next; but the first one is the likeliest, and may only be slow.
        this.#limitOpening(
          this.#openTimeoutMs * (this.#waysLeft > 0 ? 0.75 : 1) - (this.#clock.monotonicMs() - this.#startedAtMs),
        );
        return;
      case 'ring':
        this.#onRing(message);
        return;
      case 'warning':
        this.#logger.log('warn', message.message);
        return;
      case 'frozen':
        this.#handlers.onFrozen(message.pictureHash);
        return;
      case 'moving':
        this.#handlers.onMoving();
        return;
      case 'ended':
        this.#settle({ type: 'ended', clipHash: message.clipHash });
        return;
      case 'failed':
        this.#fail(new SdkError(message.code, message.message, { details: message.details }), message.openFailure);
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
        this.#watch(ring, message);
      }
      if (this.#ring) this.#handlers.onRing(this.#ring, message);
    } catch (error) {
      this.#fail(error instanceof SdkError ? error : new SdkError('ERR_CAPTURE_HOST_DIED', String(error)));
    }
  }

  /** Looks at a counter in shared memory a few times in `timeoutMs`: watching costs no message and no copy. */
  #watch(ring: FrameRing, { framesPerSecond }: RingMessage): void {
    const { timeoutMs } = this.#start.settings;
    const intervalMs = framesPerSecond > 0 ? 1000 / framesPerSecond : 1000;
    const frameTimeoutMs = timeoutMs + LONGEST_PAUSE_MS + 3 * intervalMs;
    let beat = ring.heartbeat();
    let seenAt = this.#clock.monotonicMs();
    let newest = ring.newest();
    let frameAt = seenAt;
    this.#timer = setInterval(
      () => {
        const now = this.#clock.monotonicMs();
        const current = ring.heartbeat();
        if (ring.newest() !== newest) {
          newest = ring.newest();
          frameAt = now;
        } else if (now - frameAt >= frameTimeoutMs) {
          this.#fail(
            new SdkError(
              'ERR_CAPTURE_STALLED',
              `Expected a frame within ${Math.round(frameTimeoutMs)} ms, but none came although the source is being read. Its capture process is being replaced.`,
              { details: { frameTimeoutMs } },
            ),
          );
          return;
        }
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
    ).unref();
  }

  #watchProcess(host: CaptureHost): void {
    const isStopped = watchStopped(() => host.pid);
    this.#processTimer = setInterval(() => {
      if (!isStopped()) return;
      this.#isHostStopped = true;
      this.#fail(
        new SdkError(
          'ERR_CAPTURE_TIMEOUT',
          'Expected the capture process to run, but it has been stopped (SIGSTOP). It is being replaced.',
          { details: { pid: host.pid } },
        ),
      );
    }, PROCESS_LOOK_MS).unref();
  }
}
