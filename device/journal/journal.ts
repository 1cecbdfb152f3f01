import { type Frame, type Logger, SdkError, silentLogger } from 'scenebus';
import type { AnyDeviceEvent } from '../events/events.js';
import type { EventRecorder } from '../events/hub.js';
import type { HealthQuery, HealthSample, HealthSeries } from './health-series.js';
import { Outlet, type OutletLimits } from './outlet.js';
import type {
  FoundScene,
  JournalFrame,
  JournalPage,
  JournalPicture,
  JournalQuery,
  PictureQuery,
  SceneSearch,
} from './query.js';
import { type EventRecord, type StoredKind, sizeOf, toRecord } from './record.js';
import type { JournalLimits, StoreSize } from './store.js';
import { JournalFailure, JournalThread } from './thread.js';

export interface JournalOptions {
  /** The database. undefined: nothing is written to a disk, and a restart forgets everything. */
  readonly file: string | undefined;
  readonly limits: JournalLimits;
  readonly logger?: Logger | undefined;
  /** Called when events can no longer be kept on the disk (with why), and when they can again (without). */
  readonly onHealth?: ((error: SdkError | undefined) => void) | undefined;
  /** Keeps the picture of every frame that the model looks at; undefined: none. */
  readonly encodeJpeg?: ((frame: Frame) => Promise<Uint8Array>) | undefined;
  /** Pause before the disk is tried again: doubles from the first to the last. */
  readonly backoff?: { readonly initialMs: number; readonly maximumMs: number } | undefined;
  /** How long an event waits for the disk before it is told of all the same. Default 5 000. */
  readonly patienceMs?: number | undefined;
  readonly wallMs?: (() => number) | undefined;
  readonly monotonicMs?: (() => number) | undefined;
}

/** A journal that is only read. */
export type ReadOnlyJournal = Pick<Journal, 'query' | 'frame' | 'findScenes' | typeof Symbol.asyncDispose>;

interface Entry {
  readonly record: EventRecord;
  readonly bytes: number;
  /** Called once, when it is on the disk or cannot wait for it. */
  settle: (() => void) | undefined;
}

const DEFAULT_BACKOFF = { initialMs: 1_000, maximumMs: 60_000 };
const DEFAULT_PATIENCE_MS = 5_000;
const RETAIN_EVERY_MS = 10 * 60_000;
/** Retention runs as well after so much was written. */
const RETAIN_EVERY_BYTES = 16 * 2 ** 20;
/** Of one transaction: a crash of the disk's controller loses at most what nobody was told of. */
const WRITE_BATCH = 512;
const FRAMES_AT_ONCE = 4;
/** What waits in memory for a disk that is full or away. */
const MEMORY_LIMITS = { events: 10_000, bytes: 16 * 2 ** 20, frames: 8, samples: 360 };
/**
 * Pictures and how far the sinks have got wait so long for an event to be written with: a transaction of their own, right
 * behind an answer, would hold up the next one. Lost with a crash: an answer is sent again, and says so.
 */
const LATE_MS = 250;
/** Samples wait for an event to be written with, at most so many: a disk is not woken for each. */
const SAMPLES_AT_ONCE = 6;

/**
 * Everything that happened, on a disk before anybody is told of it. A disk that is full, read-only, slow or gone does
 * not stop anything: events are then kept in memory within bounds, and written when it is back. A damaged file is set
 * aside and a new one begun.
 *
 * @example
 * await using journal = await Journal.open({ file: 'journal.db', limits: { maxAgeMs: 864e5, maxBytes: 2 ** 28 } });
 * const { events } = await journal.query({ text: 'red cup', limit: 20 });
 */
export class Journal implements EventRecorder, AsyncDisposable {
  readonly #options: JournalOptions;
  readonly #logger: Logger;
  readonly #outlets = new Map<string, Outlet>();
  readonly #moved = new Set<Outlet>();
  readonly #unrestored = new Set<Outlet>();
  #entries: Entry[] = [];
  #entryBytes = 0;
  #frames: JournalFrame[] = [];
  #samples: HealthSample[] = [];
  #isSampleWanted = false;
  #isLateDue = false;
  #lateTimer: NodeJS.Timeout | undefined;
  #thread: JournalThread | undefined;
  #isWritable = false;
  #isDamaged = false;
  #isReadOnly = false;
  #isClosed = false;
  #writing: Promise<void> | undefined;
  #retryMs: number;
  #retryTimer: NodeJS.Timeout | undefined;
  #retainTimer: NodeJS.Timeout | undefined;
  #bytesSinceRetain = 0;
  #droppedFromMemory = 0;
  #size: StoreSize = { events: 0, frames: 0, bytes: 0 };

  private constructor(options: JournalOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    this.#retryMs = (options.backoff ?? DEFAULT_BACKOFF).initialMs;
  }

  /**
   * Never fails for what is wrong with a disk: see `onHealth`.
   * @throws SdkError ERR_JOURNAL_LOCKED when another service uses the file
   */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options);
    try {
      await journal.#connect();
    } catch (error) {
      if (error instanceof JournalFailure && error.code === 'ERR_JOURNAL_LOCKED') {
        await journal.#thread?.terminate();
        throw new SdkError('ERR_JOURNAL_LOCKED', error.message, { details: { file: options.file } });
      }
      journal.#lose(error);
    }
    journal.#retainTimer = setInterval(() => void journal.#retain(), RETAIN_EVERY_MS);
    journal.#retainTimer.unref();
    return journal;
  }

  /**
   * For reading the file of a running service or of one that has ended. Nothing is written, moved or mended.
   * @throws SdkError ERR_ARGUMENT_INVALID; ERR_JOURNAL_UNAVAILABLE for a damaged file, here or when it is read
   */
  static async openReadOnly(file: string): Promise<ReadOnlyJournal> {
    const journal = new Journal({ file, limits: { maxAgeMs: Number.POSITIVE_INFINITY, maxBytes: 0 } });
    journal.#isReadOnly = true;
    const thread = new JournalThread();
    journal.#thread = thread;
    try {
      await thread.call('openReadOnly', file);
    } catch (error) {
      await thread.terminate();
      if (error instanceof JournalFailure && error.isDamage) throw damaged(file, error);
      const why = error instanceof Error ? error.message : String(error);
      throw new SdkError('ERR_ARGUMENT_INVALID', `Cannot read the journal ${file}: ${why}`, { cause: error });
    }
    return journal;
  }

  /** Plain numbers for health reports. */
  get metrics(): Readonly<Record<string, number>> {
    const outlets = [...this.#outlets.values()];
    const sum = (of: (outlet: Outlet) => number) => outlets.reduce((total, outlet) => total + of(outlet), 0);
    return {
      journalEvents: this.#size.events,
      journalFrames: this.#size.frames,
      journalBytes: this.#size.bytes,
      journalUnwritten: this.#entries.length,
      journalDropped: this.#droppedFromMemory,
      eventsPending: sum(({ length }) => length),
      eventsPendingBytes: sum(({ bytes }) => bytes),
      eventsDelivered: sum(({ counters }) => counters.delivered),
      eventsRefused: sum(({ counters }) => counters.refused),
      eventsDroppedQueueFull: sum(({ counters }) => counters.droppedQueueFull),
      eventsDroppedExpired: sum(({ counters }) => counters.droppedExpired),
    };
  }

  record(event: AnyDeviceEvent): Promise<void> {
    if (event.kind === 'frame') {
      void this.#keepFrame(event.id, event.body.frame, event.camera);
      return Promise.resolve();
    }
    const record = toRecord(event);
    if (record === undefined || this.#isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      const patienceMs = this.#options.patienceMs ?? DEFAULT_PATIENCE_MS;
      const timer = setTimeout(() => this.#lose(new Error(`no answer from the disk for ${patienceMs} ms`)), patienceMs);
      const entry: Entry = {
        record,
        bytes: sizeOf(record),
        settle: () => {
          entry.settle = undefined;
          clearTimeout(timer);
          for (const outlet of this.#outlets.values()) outlet.add(record);
          resolve();
        },
      };
      this.#entries.push(entry);
      this.#entryBytes += entry.bytes;
      if (this.#isWritable) this.#writeSoon();
      else this.#keepInMemory();
    });
  }

  /** Keeps numbers of the device. They are written with the next event, or when there are some: a crash loses a minute. */
  recordHealth(sample: HealthSample): void {
    if (this.#isClosed) return;
    this.#samples.push(sample);
    if (this.#samples.length > MEMORY_LIMITS.samples) this.#samples.shift();
    if (this.#isWritable && this.#samples.length >= SAMPLES_AT_ONCE) this.#writeSoon();
  }

  /** How the device was, over time and restarts. @throws SdkError ERR_JOURNAL_UNAVAILABLE while it cannot be read. */
  async healthSeries(query: HealthQuery): Promise<HealthSeries> {
    this.#isSampleWanted = this.#samples.length > 0;
    await this.flush();
    return await this.#ask((thread) => thread.call('healthSeries', query));
  }

  /** What a sink has not been given yet: of earlier runs what is after its cursor, then what comes. */
  async openOutlet(sink: string, kinds: readonly StoredKind[], limits: OutletLimits): Promise<Outlet> {
    const outlet: Outlet = new Outlet({
      sink,
      kinds,
      limits,
      monotonicMs: this.#options.monotonicMs ?? (() => performance.now()),
      onProgress: () => {
        this.#moved.add(outlet);
        this.#writeLater();
      },
    });
    this.#outlets.set(sink, outlet);
    this.#unrestored.add(outlet);
    if (this.#isWritable) await this.#restore().catch((error: unknown) => this.#lose(error));
    return outlet;
  }

  /** Of a sink that is switched off: nothing is kept for it, and it begins anew. */
  async forgetOutlet(sink: string): Promise<void> {
    if (this.#isWritable) await this.#thread?.call('forget', sink).catch((error: unknown) => this.#lose(error));
  }

  /** @throws SdkError ERR_ARGUMENT_INVALID for a wrong limit or cursor; ERR_JOURNAL_UNAVAILABLE while it cannot be read. */
  query(query: JournalQuery): Promise<JournalPage> {
    return this.#ask((thread) => thread.call('query', query));
  }

  /** The picture of a frame; of several runs that had a frame of this name the newest. @throws SdkError as `query` */
  frame(id: string, options: { readonly run?: string | undefined } = {}): Promise<JournalFrame | undefined> {
    return this.#ask((thread) => thread.call('frame', id, options.run));
  }

  /** Which pictures of a camera there are, oldest first; `frame` reads one. @throws SdkError as `query` */
  pictures(query: PictureQuery): Promise<readonly JournalPicture[]> {
    return this.#ask((thread) => thread.call('pictures', query));
  }

  /** Descriptions by any of some words, the best first, and whether their pictures are there. @throws SdkError as `query` */
  findScenes(search: SceneSearch): Promise<readonly FoundScene[]> {
    return this.#ask((thread) => thread.call('findScenes', search));
  }

  /** Resolves when all that was recorded is written, or cannot be. */
  async flush(): Promise<void> {
    this.#endLateness();
    while (this.#writing !== undefined) await this.#writing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    clearInterval(this.#retainTimer);
    clearTimeout(this.#retryTimer);
    this.#isSampleWanted = this.#samples.length > 0;
    await this.flush();
    this.#isClosed = true;
    clearTimeout(this.#lateTimer);
    await this.#thread?.terminate();
  }

  async #ask<T>(question: (thread: JournalThread) => Promise<T>): Promise<T> {
    const thread = this.#thread;
    if (thread === undefined)
      throw new SdkError('ERR_JOURNAL_UNAVAILABLE', 'The journal cannot be read now; the device’s health says why.');
    try {
      return await question(thread);
    } catch (error) {
      if (error instanceof JournalFailure && error.code === 'ERR_ARGUMENT_INVALID')
        throw new SdkError('ERR_ARGUMENT_INVALID', error.message);
      if (error instanceof JournalFailure && error.isDamage) {
        // What is only read belongs to another service, which sets it aside itself.
        if (this.#isReadOnly) throw damaged(this.#options.file ?? '', error);
        this.#lose(error);
      }
      const why = error instanceof Error ? error.message : String(error);
      throw new SdkError('ERR_JOURNAL_UNAVAILABLE', `The journal cannot be read now: ${why}`, { cause: error });
    }
  }

  async #connect(): Promise<void> {
    const { file = ':memory:' } = this.#options;
    try {
      await this.#open(file);
    } catch (error) {
      if (!(error instanceof JournalFailure && error.isDamage)) throw error;
      this.#isDamaged = true;
      await this.#open(file);
    }
    await this.#restore();
    await this.#write();
    this.#size = (await this.#thread?.call('size')) ?? this.#size;
    this.#isWritable = true;
    if (this.#hasWork) this.#writeSoon();
  }

  async #open(file: string): Promise<void> {
    await this.#thread?.terminate();
    this.#thread = new JournalThread();
    const { setAside } = await this.#thread.call('open', file, this.#isDamaged ? this.#wallMs() : undefined);
    this.#isDamaged = false;
    if (setAside !== undefined)
      this.#logger.log('error', `the journal ${file} was damaged: it was moved to ${setAside}, and a new one started`);
  }

  /** Reads for new outlets what is after their cursors. */
  async #restore(): Promise<void> {
    if (this.#thread === undefined) return;
    for (const outlet of [...this.#unrestored]) {
      const cursor = await this.#thread.call('cursor', outlet.sink);
      const events = await this.#thread.call('after', cursor, outlet.kinds, MEMORY_LIMITS.events);
      outlet.restore(events, this.#wallMs());
      this.#unrestored.delete(outlet);
    }
  }

  #writeSoon(): void {
    this.#writing ??= Promise.resolve()
      .then(() => this.#write())
      .catch((error: unknown) => this.#lose(error))
      .finally(() => {
        this.#writing = undefined;
        // What came between the last look and now.
        if (this.#isWritable && this.#hasWork) this.#writeSoon();
      });
  }

  #writeLater(): void {
    if (this.#frames.length >= FRAMES_AT_ONCE) this.#endLateness();
    else this.#lateTimer ??= setTimeout(() => this.#endLateness(), LATE_MS).unref();
  }

  /** What waits for an event waits no longer. */
  #endLateness(): void {
    clearTimeout(this.#lateTimer);
    this.#lateTimer = undefined;
    this.#isLateDue = this.#hasLate;
    if (this.#isWritable && this.#hasWork) this.#writeSoon();
  }

  get #hasLate(): boolean {
    return this.#frames.length + this.#moved.size > 0;
  }

  get #hasWork(): boolean {
    const areSamplesDue = this.#isSampleWanted || this.#samples.length >= SAMPLES_AT_ONCE;
    return this.#entries.length > 0 || areSamplesDue || (this.#isLateDue && this.#hasLate);
  }

  /** Events that come while a transaction runs share the next one: under load many share one wait for the disk. */
  async #write(): Promise<void> {
    while (this.#hasWork && this.#thread !== undefined) {
      const entries = this.#entries.slice(0, WRITE_BATCH);
      const frames = this.#frames.slice();
      const moved = [...this.#moved];
      const cursors = moved.flatMap(({ sink, cursor }) => (cursor === undefined ? [] : [[sink, cursor] as const]));
      const records = entries.map(({ record }) => record);
      const samples = this.#samples.slice();
      this.#isLateDue = false;
      // One that moves meanwhile has to be written again; after a failure all of them are.
      this.#moved.clear();
      const seqs = await this.#thread.call('write', { records, frames, samples, cursors });
      this.#samples = this.#samples.filter((sample) => !samples.includes(sample));
      this.#isSampleWanted = false;
      const written = new Set<Entry>(entries);
      this.#frames = this.#frames.filter((frame) => !frames.includes(frame));
      this.#entries = this.#entries.filter((entry) => !written.has(entry));
      for (const [index, { record, bytes, settle }] of entries.entries()) {
        this.#entryBytes -= bytes;
        this.#bytesSinceRetain += bytes;
        settle?.();
        for (const outlet of this.#outlets.values()) outlet.number(record, seqs[index] ?? 0);
      }
      for (const { jpeg } of frames) this.#bytesSinceRetain += jpeg.length;
      if (this.#bytesSinceRetain > RETAIN_EVERY_BYTES) await this.#retain();
    }
  }

  async #retain(): Promise<void> {
    this.#bytesSinceRetain = 0;
    if (!this.#isWritable || this.#thread === undefined) return;
    try {
      const removed = await this.#thread.call('retain', this.#options.limits, this.#wallMs());
      this.#size = await this.#thread.call('size');
      if (removed.events + removed.frames > 0)
        this.#logger.log('debug', 'old events were removed from the journal', removed);
    } catch (error) {
      this.#lose(error);
    }
  }

  /** The disk does not take it: everybody is told all the same, and the disk is tried again later. */
  #lose(error: unknown): void {
    if (this.#isClosed) return;
    this.#isWritable = false;
    const isDamage = error instanceof JournalFailure && error.isDamage;
    this.#isDamaged ||= isDamage;
    const why = error instanceof Error ? error.message : String(error);
    const message = `The journal ${this.#options.file} cannot be written (${why}); events are kept in memory until it can.`;
    this.#options.onHealth?.(
      new SdkError(isFull(error) ? 'ERR_DISK_FULL' : 'ERR_JOURNAL_UNAVAILABLE', message, { cause: error }),
    );
    this.#keepInMemory();
    clearTimeout(this.#retryTimer);
    // A new file needs no patience.
    this.#retryTimer = setTimeout(() => void this.#reconnect(), isDamage ? 0 : this.#retryMs);
    this.#retryTimer.unref();
    this.#retryMs = Math.min(2 * this.#retryMs, (this.#options.backoff ?? DEFAULT_BACKOFF).maximumMs);
  }

  async #reconnect(): Promise<void> {
    try {
      // A write is the proof: an open file may still stand on a full disk.
      for (const outlet of this.#outlets.values()) this.#moved.add(outlet);
      this.#isLateDue = true;
      await this.#connect();
    } catch (error) {
      this.#lose(error);
      return;
    }
    this.#retryMs = (this.#options.backoff ?? DEFAULT_BACKOFF).initialMs;
    this.#logger.log('info', 'the journal can be written again');
    this.#options.onHealth?.(undefined);
  }

  /** Nothing waits for the disk any more; what waits to be written is bounded. */
  #keepInMemory(): void {
    for (const entry of this.#entries) entry.settle?.();
    const { events, bytes } = MEMORY_LIMITS;
    while (this.#entries.length > events || (this.#entryBytes > bytes && this.#entries.length > 1)) {
      this.#entryBytes -= this.#entries.shift()?.bytes ?? 0;
      this.#droppedFromMemory += 1;
    }
    this.#frames.splice(0, Math.max(0, this.#frames.length - MEMORY_LIMITS.frames));
  }

  async #keepFrame(eventId: string, frame: Frame, camera: string | undefined): Promise<void> {
    const { encodeJpeg } = this.#options;
    if (encodeJpeg === undefined || this.#isClosed) return;
    try {
      const jpeg = await encodeJpeg(frame);
      const { id, capturedAtMs: atMs, width, height } = frame;
      const run = eventId.slice(0, Math.max(0, eventId.lastIndexOf('-')));
      this.#frames.push({ id, run, camera: camera ?? null, atMs, width, height, jpeg });
      if (this.#isWritable) this.#writeLater();
      else this.#keepInMemory();
    } catch (error) {
      this.#logger.log('warn', `the picture of frame ${frame.id} could not be kept`, { error: String(error) });
    }
  }

  #wallMs(): number {
    return (this.#options.wallMs ?? Date.now)();
  }
}

function isFull(error: unknown): boolean {
  return error instanceof JournalFailure && /\bfull\b|ENOSPC|EDQUOT/i.test(error.message);
}

function damaged(file: string, cause: JournalFailure): SdkError {
  const message = `The journal ${file} is damaged or was cut short (${cause.message}). Copy it again with its -wal file while the service is stopped; a service sets a damaged one aside when it starts and begins a new one.`;
  return new SdkError('ERR_JOURNAL_UNAVAILABLE', message, { cause, details: { file } });
}
