import type { EventRecord, StoredEvent, StoredKind } from './record.js';
import { sizeOf } from './record.js';

export interface OutletLimits {
  readonly maxEvents: number;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
}

/** An event on its way to a sink. */
export interface PendingEvent {
  readonly record: EventRecord;
  /** The sink may have been given it before: it was on its way when the connection or the service ended. */
  readonly mayBeRepeated: boolean;
}

interface Slot {
  readonly record: EventRecord;
  readonly bytes: number;
  /** Of the monotonic clock: a wall clock that is set must not make events old. */
  readonly expiresAtMs: number;
  /** undefined: not on the disk yet. */
  seq: number | undefined;
  isSent: boolean;
  mayBeRepeated: boolean;
  /** The last of the events that were finished right behind this one; first of all itself. */
  through: Slot | undefined;
}

export interface OutletOptions {
  readonly sink: string;
  readonly kinds: readonly StoredKind[];
  readonly limits: OutletLimits;
  readonly monotonicMs: () => number;
  /** The cursor has moved. */
  readonly onProgress: () => void;
}

/**
 * What one sink has not been given yet, in the order of the journal and bounded whatever the sink does. A copy of the
 * journal from the sink's cursor on: it goes on when the disk fails, and after a restart it is read again.
 */
export class Outlet {
  readonly sink: string;
  readonly kinds: readonly StoredKind[];
  readonly counters = { delivered: 0, refused: 0, droppedQueueFull: 0, droppedExpired: 0 };
  readonly #options: OutletOptions;
  readonly #slots: Slot[] = [];
  readonly #byRecord = new WeakMap<EventRecord, Slot>();
  #bytes = 0;
  /** The last event of those before which all are done. */
  #lastDone: Slot | undefined;
  #listener: (() => void) | undefined;

  constructor(options: OutletOptions) {
    this.sink = options.sink;
    this.kinds = options.kinds;
    this.#options = options;
  }

  get length(): number {
    return this.#slots.length;
  }
  get bytes(): number {
    return this.#bytes;
  }

  /** Called when there is something new to take. */
  onEvent(listener: () => void): void {
    this.#listener = listener;
  }

  /** The next event that is not on its way; it counts as sent. Events that became too old are dropped. */
  take(): PendingEvent | undefined {
    this.#dropExpired();
    const slot = this.#slots.find(({ isSent }) => !isSent);
    if (slot === undefined) return undefined;
    slot.isSent = true;
    const { record, mayBeRepeated } = slot;
    slot.mayBeRepeated = true;
    return { record, mayBeRepeated };
  }

  /** The sink has it for good. */
  done(record: EventRecord): void {
    this.#finish(record, 'delivered');
  }

  /** The sink will never take it. */
  refused(record: EventRecord): void {
    this.#finish(record, 'refused');
  }

  /** The sink has lost its connection: what is on its way is taken again, in the same order. */
  rewind(): void {
    for (const slot of this.#slots) slot.isSent = false;
  }

  /** A new event, from the journal. */
  add(record: EventRecord): void {
    if (!this.kinds.includes(record.kind)) return;
    this.#push(record, undefined, this.#options.limits.maxAgeMs, false);
    this.#bound();
    this.#listener?.();
  }

  /** Events of an earlier run, older than all that are here. */
  restore(events: readonly StoredEvent[], wallMs: number): void {
    const known = new Set(this.#slots.map(({ record }) => record.id));
    const later = this.#slots.splice(0);
    for (const event of events) {
      if (known.has(event.id)) continue;
      const ageMs = Math.max(0, wallMs - event.atMs);
      this.#push(event, event.seq, this.#options.limits.maxAgeMs - ageMs, true);
    }
    this.#slots.push(...later);
    this.#bound();
    this.#listener?.();
  }

  /** The journal has numbered an event. */
  number(record: EventRecord, seq: number): void {
    const slot = this.#byRecord.get(record);
    if (slot === undefined) return;
    slot.seq = seq;
    if (slot === this.#lastDone) this.#options.onProgress();
  }

  /** Number of the event up to which all are done; undefined: none is, or it has no number yet. */
  get cursor(): number | undefined {
    const last = this.#lastDone?.seq;
    const next = this.#slots[0]?.seq;
    // Events of an earlier run can come after those of this one, when the disk was not there at first.
    return last !== undefined && next !== undefined && next <= last ? next - 1 : last;
  }

  #push(record: EventRecord, seq: number | undefined, lifeMs: number, mayBeRepeated: boolean): void {
    const bytes = sizeOf(record);
    const expiresAtMs = this.#options.monotonicMs() + lifeMs;
    const slot: Slot = { record, bytes, expiresAtMs, seq, isSent: false, mayBeRepeated, through: undefined };
    this.#slots.push(slot);
    this.#byRecord.set(record, slot);
    this.#bytes += bytes;
  }

  #finish(record: EventRecord, how: keyof Outlet['counters']): void {
    const slot = this.#byRecord.get(record);
    const index = slot === undefined ? -1 : this.#slots.indexOf(slot);
    if (slot === undefined || index < 0) return;
    this.#slots.splice(index, 1);
    this.#bytes -= slot.bytes;
    this.counters[how] += 1;
    const last = slot.through ?? slot;
    const before = this.#slots[index - 1];
    // Behind one that is not done the cursor waits, and passes this one together with it.
    if (before !== undefined) before.through = last;
    else this.#passTo(last);
  }

  #passTo(slot: Slot): void {
    const known = this.#lastDone?.seq ?? 0;
    if (slot.seq !== undefined && slot.seq < known) return;
    this.#lastDone = slot;
    if (slot.seq !== undefined) this.#options.onProgress();
  }

  #bound(): void {
    const { maxEvents, maxBytes } = this.#options.limits;
    // What is on its way stays: dropping it would not take it back.
    while (this.#slots.length > maxEvents || this.#bytes > maxBytes) {
      const oldest = this.#slots.find(({ isSent }) => !isSent);
      if (oldest === undefined || oldest === this.#slots.at(-1)) return;
      this.#finish(oldest.record, 'droppedQueueFull');
    }
  }

  #dropExpired(): void {
    const now = this.#options.monotonicMs();
    const expired: Slot[] = [];
    for (const slot of this.#slots) {
      if (slot.expiresAtMs > now) break; // they are in their order
      if (!slot.isSent) expired.push(slot);
    }
    for (const { record } of expired) this.#finish(record, 'droppedExpired');
  }
}
