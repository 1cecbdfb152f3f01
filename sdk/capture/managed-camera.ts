/** A camera kept alive: runs capture hosts one after another and gives readers their frames. */
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock, systemClock } from '../core/clock.js';
import { isSdkError, SdkError } from '../core/errors.js';
import { keepAlive } from '../core/keep-alive.js';
import { linkedAbort } from '../core/linked-abort.js';
import { type Logger, silentLogger } from '../core/logger.js';
import type { CallOptions, Frame } from '../core/types.js';
import { type FrameGlance, glanceAt } from '../image/index.js';
import { type CaptureAddress, redactAddress } from './address.js';
import type { Camera, CameraInfo, CameraStatus, FramesOptions, ReadOptions } from './camera.js';
import type { FrameRing, RingCopy, RingFrame } from './frame-ring.js';
import { FrameWaiters, type WaitOptions } from './frame-waiters.js';
import { FrozenPicture } from './frozen-picture.js';
import type { RingMessage } from './host/protocol.js';
import { HostSession, type SessionEnd } from './host-session.js';
import { OpenSequence } from './open-sequence.js';
import type { CameraSettings } from './options.js';
import { reopenDelayMs, reopenSettings } from './reopening.js';
import { StatusFeed } from './status-feed.js';

/** After so long with frames a loss counts as the first of a new row. */
const STABLE_MS = 5000;
/** Failures in a row before a camera that had streamed is looked at with a connection of our own. */
const LOOK_AFTER_FAILURES = 3;

export interface ManagedCameraOptions {
  readonly id: string;
  /** As the caller wrote it. */
  readonly address: string;
  readonly parsed: CaptureAddress;
  readonly settings: CameraSettings;
  readonly logger?: Logger | undefined;
  readonly clock?: Clock | undefined;
  readonly onClosed?: (() => void) | undefined;
}

export class ManagedCamera implements Camera {
  readonly #options: ManagedCameraOptions;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #waiters = new FrameWaiters();
  readonly #feed: StatusFeed;
  readonly #frozen: FrozenPicture;
  readonly #closing = new AbortController();
  readonly #firstFrame: Promise<void>;
  #onFirstFrame: { resolve(): void; reject(error: unknown): void } = { resolve: () => {}, reject: () => {} };
  #running: Promise<void> = Promise.resolve();
  #session: HostSession | undefined;
  #ring: FrameRing | undefined;
  #info: CameraInfo;
  readonly #opening: OpenSequence;
  #loop: boolean;
  #lastSequence = 0;
  #readPosition = 0;
  #streamingSinceMs: number | undefined;
  #everStreamed = false;
  #isSnapshot = false;
  /** Of the first picture of a stream that may have been a clip. */
  #clipHash = '';
  #failures = 0;
  /** When the newest frame of the ring that is gone was captured. */
  #lastTimes: Pick<RingFrame, 'capturedAtMs' | 'capturedAtMonotonicMs'> | undefined;

  constructor(options: ManagedCameraOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    this.#clock = options.clock ?? systemClock;
    this.#feed = new StatusFeed(this.#clock);
    this.#frozen = new FrozenPicture(options.settings.frozenTimeoutMs, this.#clock);
    this.#loop = options.settings.loop ?? (options.parsed.kind === 'path' && options.parsed.loop === true);
    this.#opening = new OpenSequence(options.settings.openTimeoutMs);
    this.#info = Object.freeze({
      id: options.id,
      address: redactAddress(options.address),
      kind: options.parsed.kind === 'path' ? 'file' : options.parsed.kind,
      size: undefined,
      framesPerSecond: undefined,
      backend: undefined,
    });
    setMaxListeners(0, this.#closing.signal); // one for each loop that pauses
    this.#firstFrame = new Promise((resolve, reject) => {
      this.#onFirstFrame = { resolve, reject };
    });
    this.#firstFrame.catch(() => {}); // whoever opened with requireFirstFrame: false does not look
  }

  /** Starts capturing. Resolves with the first frame; rejects when the first attempt fails and must not. */
  start(): Promise<void> {
    this.#running = this.#run().catch((error: unknown) => this.#giveUp(error));
    return this.#options.settings.requireFirstFrame ? this.#untilFirstFrame() : this.#firstFrame;
  }

  async #untilFirstFrame(): Promise<void> {
    using _alive = keepAlive();
    await this.#firstFrame;
  }

  get info(): CameraInfo {
    return this.#info;
  }

  get status(): CameraStatus {
    return this.#feed.current;
  }

  get newestFrameAtMs(): number | undefined {
    const at = this.#newestTimes()?.capturedAtMs;
    return at === undefined ? undefined : Math.round(at);
  }

  get newestFrameAtMonotonicMs(): number | undefined {
    return this.#newestTimes()?.capturedAtMonotonicMs;
  }

  get newestSequence(): number {
    return Math.max(this.#lastSequence, this.#ring?.newest() ?? 0);
  }

  /** Of the running capture host; for supervision and tests. */
  get hostPid(): number | undefined {
    return this.#session?.hostPid;
  }

  async read(options: ReadOptions = {}): Promise<Frame> {
    const { settings } = this.#options;
    const intervalMs = 1000 / (this.#info.framesPerSecond ?? 30);
    const limitMs = (settings.readTimeoutMs ?? 2 * settings.timeoutMs) + 2 * intervalMs;
    const isImpatient = options.whileDown === 'reject';
    const frame = await this.#next(this.#readPosition, { signal: options.signal, limitMs, isImpatient });
    this.#readPosition = Math.max(this.#readPosition, frame.sequence);
    return frame;
  }

  async *frames(options: FramesOptions = {}): AsyncGenerator<Frame, void, undefined> {
    const { signal, maxFps, skip, format = 'bgr8', reuseMemory = false } = options;
    if (maxFps !== undefined && !(maxFps > 0)) {
      throw new SdkError('ERR_ARGUMENT_INVALID', `Expected maxFps above 0, but received ${maxFps}.`);
    }
    if (format !== 'bgr8' && format !== 'rgb8') {
      throw new SdkError('ERR_ARGUMENT_INVALID', `Expected the format bgr8 or rgb8, but received ${String(format)}.`);
    }
    const isSwapped = format === 'rgb8';
    using either = linkedAbort([signal, this.#closing.signal]);
    let position = 0;
    let into: Uint8Array | undefined;
    const pause = async (startedAtMs: number) => {
      const pauseMs = maxFps === undefined ? 0 : 1000 / maxFps - (this.#clock.monotonicMs() - startedAtMs);
      if (pauseMs > 0) await sleep(pauseMs, undefined, { signal: either.signal }).catch(() => {});
    };
    for (;;) {
      let frame: Frame;
      const startedAtMs = this.#clock.monotonicMs();
      signal?.throwIfAborted();
      const passedOver = skip && maxFps !== undefined ? this.#passOver(position, skip) : undefined;
      if (passedOver !== undefined) {
        position = passedOver;
        await pause(startedAtMs);
        continue;
      }
      try {
        frame = await this.#next(position, { signal, copy: { isSwapped, into } });
      } catch (error) {
        if (isSdkError(error, 'ERR_CAPTURE_ENDED') || isSdkError(error, 'ERR_DISPOSED')) return;
        throw error;
      }
      position = frame.sequence;
      if (reuseMemory) into = frame.data;
      if (!skip?.(glanceAt(frame))) yield frame;
      await pause(startedAtMs);
    }
  }

  /**
   * Of a frame that is there and that nobody has to wait for: a look at it where it lies.
   * @returns its sequence when it is passed over
   */
  #passOver(after: number, skip: (glance: FrameGlance) => boolean): number | undefined {
    const ring = this.#ring;
    const newest = ring?.newest() ?? 0;
    if (ring === undefined || newest <= after || this.#closing.signal.aborted || this.#finalError()) return undefined;
    const greyThumbnail = (width: number, height: number) => {
      const cells = ring.greyThumbnail(width, height);
      if (cells) return cells;
      throw new SdkError('ERR_CAPTURE_LOST', `Expected a frame of ${this.#info.address}, but its memory holds none.`);
    };
    return skip({ greyThumbnail }) ? newest : undefined;
  }

  [Symbol.asyncIterator](): AsyncIterator<Frame> {
    return this.frames()[Symbol.asyncIterator]();
  }

  async *statusChanges(options?: CallOptions): AsyncGenerator<CameraStatus, void, undefined> {
    using _alive = keepAlive();
    yield* this.#feed.changes(options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    using _alive = keepAlive();
    if (!this.#closing.signal.aborted) {
      this.#closing.abort();
      this.#session?.close();
    }
    await this.#running;
    this.#useRing(undefined);
    this.#feed.set({ state: 'closed' });
    this.#waiters.rejectAll(this.#disposedError());
    this.#onFirstFrame.reject(this.#disposedError());
    this.#options.onClosed?.();
  }

  async #next(
    after: number,
    {
      signal,
      limitMs,
      isImpatient = false,
      copy,
    }: Pick<WaitOptions, 'signal' | 'isImpatient' | 'copy'> & { readonly limitMs?: number },
  ): Promise<Frame> {
    signal?.throwIfAborted();
    if (this.#closing.signal.aborted) throw this.#disposedError();
    const final = this.#finalError();
    if (final) {
      const rest = this.#ring?.read(after, copy?.isSwapped, copy?.into); // the last frame of a clip
      if (rest) return this.#toFrame(rest, copy);
      throw final;
    }
    if (isImpatient && this.#feed.current.state === 'reopening') throw this.#limitError(0);
    const onLimit = () => this.#limitError(limitMs ?? 0);
    using _alive = keepAlive();
    return this.#toFrame(await this.#waiters.next({ after, copy, signal, limitMs, onLimit, isImpatient }), copy);
  }

  #toFrame(frame: RingFrame, copy?: RingCopy): Frame {
    const { sequence, width, height, mediaTimeMs, data } = frame;
    const capturedAtMs = Math.round(frame.capturedAtMs);
    const id = `${this.#options.id}-${String(sequence).padStart(6, '0')}`;
    const { capturedAtMonotonicMs } = frame;
    const format = copy?.isSwapped ? 'rgb8' : 'bgr8';
    const common = { id, capturedAtMs, capturedAtMonotonicMs, sequence, width, height, format, data } as const;
    return mediaTimeMs >= 0 ? { ...common, mediaTimeMs } : common;
  }

  async #run(): Promise<void> {
    let awaySinceMs = 0;
    while (!this.#closing.signal.aborted) {
      const end = await this.#runSession();
      if (end.type === 'closed') return;
      if (end.type === 'ended' && (end.clipHash === '' || this.#options.settings.reopen === false))
        return this.#finish();
      const error = end.type === 'failed' ? end.error : this.#noteLikelyClip(end.clipHash);
      const nowMs = this.#clock.monotonicMs();
      const streamedMs = this.#streamingSinceMs === undefined ? 0 : nowMs - this.#streamingSinceMs;
      this.#streamingSinceMs = undefined;
      // What is in there is old by now. The last frame of what may have been a clip remains its last frame.
      if (end.type === 'failed') this.#useRing(undefined);
      if (!this.#everStreamed && this.#options.settings.requireFirstFrame) return this.#giveUp(error);
      const facts = { kind: this.#info.kind, loop: this.#loop, everStreamed: this.#everStreamed };
      const settings = reopenSettings(this.#options.settings, facts, error);
      if (streamedMs >= STABLE_MS || this.#failures === 0) {
        this.#failures = 0;
        awaySinceMs = nowMs;
      }
      this.#failures++;
      if (!settings || (settings.attempts !== undefined && this.#failures > settings.attempts)) {
        return this.#giveUp(error);
      }
      const delayMs = reopenDelayMs(settings, nowMs - awaySinceMs, error);
      this.#logger.log('warn', `${this.#options.id}: ${error.message} Reopening in ${delayMs} ms.`, {
        code: error.code,
      });
      const retryAtMs = this.#clock.wallMs() + delayMs;
      const state = error.code === 'ERR_CAPTURE_STALLED' ? 'stalled' : 'reopening';
      this.#feed.set({ state, error, attempt: this.#failures, retryAtMs });
      this.#waiters.rejectImpatient(this.#limitError(0));
      await sleep(delayMs, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {});
    }
  }

  #finish(): void {
    this.#feed.set({ state: 'ended' });
    this.#onFirstFrame.resolve();
    this.#waiters.wake();
    this.#waiters.rejectAll(this.#finalError());
  }

  #noteLikelyClip(clipHash: string): SdkError {
    this.#clipHash = clipHash;
    return new SdkError(
      'ERR_CAPTURE_LOST',
      `Expected more frames from ${this.#info.address}, but it ended like a recording. If it starts over with the same picture, it is one.`,
    );
  }

  async #runSession(): Promise<SessionEnd> {
    const { parsed, settings } = this.#options;
    const mayLook = !this.#everStreamed || this.#failures >= LOOK_AFTER_FAILURES;
    const end = await this.#opening.run(({ attempt, earlierFailures, openTimeoutMs }) => {
      const session = new HostSession(
        {
          type: 'start',
          address: parsed,
          settings,
          firstSequence: this.#lastSequence + 1,
          attempt,
          earlierFailures,
          mayLook,
          isSnapshot: this.#isSnapshot,
          frozenHash: this.#frozen.hash,
          clipHash: this.#clipHash,
        },
        openTimeoutMs,
        {
          onPlanned: ({ kind, loop, isSnapshot }) => {
            this.#loop = loop;
            this.#isSnapshot = isSnapshot;
            this.#info = Object.freeze({ ...this.#info, kind });
          },
          onRing: (ring, message) => this.#stream(ring, message),
          onDoorbell: () => this.#waiters.wake(),
          onFrozen: (hash) => this.#onFrozen(hash),
          onMoving: () => this.#onMoving(),
        },
        this.#logger,
        this.#clock,
      );
      this.#session = session;
      if (this.#closing.signal.aborted) session.close();
      return { session, end: session.run() };
    });
    if (this.#ring) this.#lastSequence = Math.max(this.#lastSequence, this.#ring.newest());
    this.#session = undefined;
    return end;
  }

  /** Opened again, for an encoder that hangs may go on then; with growing pauses, for the scene may really be still. */
  #onFrozen(hash: string): void {
    if (this.#closing.signal.aborted) return;
    const mayReopen = this.#options.settings.reopen !== false;
    const { error, isDue } = this.#frozen.note(hash, this.#info.address, mayReopen);
    if (isDue) this.#session?.lose(error);
    else if (this.#feed.current.state === 'streaming') this.#feed.set({ state: 'stalled', error });
  }

  #onMoving(): void {
    if (!this.#frozen.forget() || this.#feed.current.state !== 'stalled' || this.#streamingSinceMs === undefined)
      return;
    this.#logger.log('info', `${this.#options.id}: the picture changes again`);
    this.#feed.set({ state: 'streaming' });
  }

  #newestTimes(): Pick<RingFrame, 'capturedAtMs' | 'capturedAtMonotonicMs'> | undefined {
    return this.#ring?.newestTimes() ?? this.#lastTimes;
  }

  #stream(ring: FrameRing, message: RingMessage): void {
    if (this.#closing.signal.aborted) return;
    const { width, height, framesPerSecond, backend } = message;
    this.#info = Object.freeze({
      ...this.#info,
      size: { width, height },
      framesPerSecond: framesPerSecond > 0 ? framesPerSecond : undefined,
      backend,
    });
    // The session closes what it replaces itself; here it is the last ring of a session before it.
    if (this.#ring && this.#ring !== ring && this.#streamingSinceMs === undefined) this.#ring.close();
    this.#ring = ring;
    if (this.#streamingSinceMs === undefined) {
      this.#logger.log('info', `${this.#options.id}: ${this.#info.address}, ${width}x${height}, ${backend}`);
      this.#streamingSinceMs = this.#clock.monotonicMs();
      this.#everStreamed = true;
      // Until the picture changes it is as frozen as before.
      const { error } = this.#frozen;
      this.#feed.set(error === undefined ? { state: 'streaming' } : { state: 'stalled', error });
      this.#onFirstFrame.resolve();
    }
    this.#waiters.use(ring);
  }

  #useRing(ring: FrameRing | undefined): void {
    if (this.#ring && this.#ring !== ring) {
      this.#lastTimes = this.#ring.newestTimes() ?? this.#lastTimes;
      this.#ring.close();
    }
    this.#ring = ring;
    this.#waiters.use(ring);
  }

  #giveUp(cause: unknown): void {
    const error = cause instanceof SdkError ? cause : new SdkError('ERR_CAPTURE_LOST', String(cause), { cause });
    this.#useRing(undefined);
    this.#feed.set({ state: 'failed', error });
    this.#onFirstFrame.reject(error);
    this.#waiters.rejectAll(error);
  }

  #finalError(): SdkError | undefined {
    const { state, error } = this.#feed.current;
    if (state === 'closed') return this.#disposedError();
    if (state === 'failed') return error;
    if (state !== 'ended') return undefined;
    return new SdkError(
      'ERR_CAPTURE_ENDED',
      `Expected another frame, but ${this.#info.address} has ended. Open it again, or open it with loop: true.`,
    );
  }

  #limitError(limitMs: number): SdkError {
    const { state, error } = this.#feed.current;
    if (state === 'reopening' && error) {
      return new SdkError(error.code, `${error.message} It is being reopened: read again later.`, {
        details: error.details,
        cause: error,
      });
    }
    return new SdkError(
      'ERR_CAPTURE_TIMEOUT',
      `Expected a frame from ${this.#info.address} within ${Math.round(limitMs)} ms, but none came (${state}). Read again later, or see statusChanges().`,
    );
  }

  #disposedError(): SdkError {
    return new SdkError('ERR_DISPOSED', `Camera ${this.#options.id} has been closed. Open it again to read from it.`);
  }
}
