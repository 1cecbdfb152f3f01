/**
 * Who uses the engine, from one step to the next. The only place where requests wait, overtake, are preempted, expire
 * and are refused.
 */
import { SdkError } from '../core/errors.js';
import type { Engine, Slice, SliceResult } from '../engine/engine.js';
import { Admission } from './admission.js';
import { type Claim, PickOrder } from './pick-order.js';
import { PRIORITIES, type Priority } from './priority.js';

/** The next piece of a job: tokens for the engine, a call that nothing else runs beside, or a token without either. */
export type Work =
  | { readonly kind: 'slice'; readonly slice: Slice; readonly accept: (result: SliceResult, elapsedMs: number) => void }
  | { readonly kind: 'call'; readonly run: () => Promise<void> }
  | { readonly kind: 'token'; readonly run: () => void };

/** Work that can stop after every piece and go on later. */
export interface Job {
  readonly priority: Priority;
  readonly caller: string;
  /** From its submission; orders the requests of one caller. Whoever set it aborts the signal in time. */
  readonly deadlineMs?: number | undefined;
  readonly signal: AbortSignal;
  readonly isDone: boolean;
  /** What to do next; undefined: there is no room for it beside what runs. */
  next(): Work | undefined;
  /** Gives up the memory it holds. It computes again what it needs when its turn comes. */
  suspend(): void;
  /** The last call, however it ended. */
  release(outcome: { readonly error?: unknown }): void;
}

/** What became of a job in the queue. */
export interface JobReport {
  /** Before its first piece of work. */
  readonly queueMs: number;
  /** How often something of higher priority went first after it had begun. */
  readonly preemptions: number;
}

/** Plain numbers of this moment; `preemptions` since the start. */
export interface SchedulerStats {
  readonly waiting: Readonly<Record<Priority, number>>;
  readonly running: number;
  readonly preemptions: number;
}

/** `nowMs`: a monotonic clock, milliseconds; default `performance.now`. */
export interface SchedulerOptions {
  /** Requests of one priority that may wait. */
  readonly maxWaiting: number;
  readonly nowMs?: (() => number) | undefined;
}

interface Ticket extends Claim {
  readonly job: Job;
  readonly submittedAtMs: number;
  startedAtMs: number | undefined;
  busyMs: number;
  isComputing: boolean;
  isPreempted: boolean;
  preemptions: number;
  readonly settle: (error: { readonly reason: unknown } | undefined) => void;
}

interface Picked {
  readonly ticket: Ticket;
  readonly work: Work;
}

const TOKEN_IS_THERE = [{ status: 'fulfilled', value: undefined }] as const;

/** Runs jobs piece by piece, never two pieces at once unless the engine computes them together. */
export class Scheduler {
  readonly #engine: Pick<Engine, 'info' | 'step'>;
  readonly #nowMs: () => number;
  readonly #admission: Admission;
  readonly #order = new PickOrder();
  readonly #tickets = new Set<Ticket>();
  #arrivals = 0;
  #preemptions = 0;
  #isTicking = false;
  #ticking: Promise<void> = Promise.resolve();
  #closed: { readonly reason: unknown } | undefined;

  constructor(engine: Pick<Engine, 'info' | 'step'>, options: SchedulerOptions) {
    this.#engine = engine;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#admission = new Admission(options.maxWaiting);
  }

  get stats(): SchedulerStats {
    const waiting = this.#waiting();
    const count = (priority: Priority) => waiting.filter((ticket) => ticket.priority === priority).length;
    return {
      waiting: Object.fromEntries(PRIORITIES.map((each) => [each, count(each)])) as Record<Priority, number>,
      running: this.#tickets.size - waiting.length,
      preemptions: this.#preemptions,
    };
  }

  /**
   * Resolves when the job is done.
   * @throws SdkError ERR_BUSY with `details.retryAfterMs`; the job's `signal.reason` when aborted, waiting or running;
   * what the job or the engine throws
   */
  run(job: Job): Promise<JobReport> {
    return new Promise<JobReport>((resolve, reject) => {
      job.signal.throwIfAborted();
      if (this.#closed !== undefined) throw this.#closed.reason;
      const submittedAtMs = this.#nowMs();
      const claim: Claim = {
        priority: job.priority,
        caller: job.caller,
        deadlineAtMs: job.deadlineMs === undefined ? undefined : submittedAtMs + job.deadlineMs,
        arrival: this.#arrivals++,
      };
      const waiting = this.#waiting();
      const displaced = this.#admission.admit(claim, waiting);
      if (displaced !== undefined) this.#end(displaced, { reason: this.#admission.busy(waiting.length) });
      const onAbort = () => {
        if (!ticket.isComputing) this.#end(ticket, { reason: job.signal.reason });
      };
      const ticket: Ticket = {
        ...claim,
        job,
        submittedAtMs,
        startedAtMs: undefined,
        busyMs: 0,
        isComputing: false,
        isPreempted: false,
        preemptions: 0,
        settle: (error) => {
          job.signal.removeEventListener('abort', onAbort);
          if (error !== undefined) reject(error.reason);
          else resolve({ queueMs: ticket.startedAtMs! - submittedAtMs, preemptions: ticket.preemptions });
        },
      };
      job.signal.addEventListener('abort', onAbort, { once: true });
      this.#tickets.add(ticket);
      if (!this.#isTicking) this.#ticking = this.#tick();
    });
  }

  /** Refuses who comes later. Jobs that are there end by their signals; resolves when none is left. */
  async close(reason: unknown): Promise<void> {
    this.#closed ??= { reason };
    await this.#ticking;
  }

  #waiting(): Ticket[] {
    return [...this.#tickets].filter(({ startedAtMs }) => startedAtMs === undefined);
  }

  async #tick(): Promise<void> {
    this.#isTicking = true;
    while (this.#tickets.size > 0) {
      const picked = this.#pick();
      if (picked.length > 0) await this.#compute(picked);
    }
    this.#isTicking = false;
  }

  /** As many slices as the engine computes together, or one other piece of work. */
  #pick(): readonly Picked[] {
    const { batchedSlices } = this.#engine.info.capabilities;
    const picked: Picked[] = [];
    let isFull = false;
    for (const ticket of this.#order.sort([...this.#tickets])) {
      if (picked.length >= batchedSlices) break;
      // Nothing starts ahead of a job that found no room, or it would wait forever.
      if (isFull && ticket.startedAtMs === undefined) continue;
      const work = this.#tryNext(ticket, picked);
      if (work === 'failed') continue;
      if (work === undefined) {
        isFull = true;
        continue;
      }
      if (work.kind === 'slice') picked.push({ ticket, work });
      else if (picked.length === 0) return this.#begin([{ ticket, work }]);
    }
    if (picked.length === 0) this.#failAll();
    return this.#begin(picked);
  }

  /** The job's next piece of work, with room made by jobs of lower priority where there is none. */
  #tryNext(ticket: Ticket, picked: readonly Picked[]): Work | 'failed' | undefined {
    try {
      let work = ticket.job.next();
      for (const victim of work === undefined ? this.#victims(ticket, picked) : []) {
        victim.job.suspend();
        work = ticket.job.next();
        if (work !== undefined) break;
      }
      return work;
    } catch (error) {
      this.#end(ticket, { reason: error });
      return 'failed';
    }
  }

  /** Who can be asked to give up memory, the least important first. */
  #victims({ priority }: Ticket, picked: readonly Picked[]): Ticket[] {
    const rank = (each: Priority) => PRIORITIES.indexOf(each);
    return [...this.#tickets]
      .filter((each) => each.startedAtMs !== undefined && rank(each.priority) > rank(priority))
      .filter((each) => !picked.some(({ ticket }) => ticket === each))
      .sort((a, b) => rank(b.priority) - rank(a.priority) || b.arrival - a.arrival);
  }

  #begin(picked: readonly Picked[]): readonly Picked[] {
    const nowMs = this.#nowMs();
    const first = picked[0]?.ticket;
    for (const { ticket } of picked) {
      ticket.startedAtMs ??= nowMs;
      ticket.isComputing = true;
      ticket.isPreempted = false;
    }
    if (this.#tickets.size > picked.length) this.#countPreempted(first);
    return picked;
  }

  /** Of those that have begun, whom `first` overtakes. */
  #countPreempted(first: Ticket | undefined): void {
    for (const ticket of this.#tickets) {
      const isBehind = PRIORITIES.indexOf(ticket.priority) > PRIORITIES.indexOf(first?.priority ?? ticket.priority);
      if (ticket.isComputing || ticket.isPreempted || ticket.startedAtMs === undefined || !isBehind) continue;
      ticket.isPreempted = true;
      ticket.preemptions++;
      this.#preemptions++;
    }
  }

  async #compute(picked: readonly Picked[]): Promise<void> {
    const startedMs = this.#nowMs();
    let results: readonly PromiseSettledResult<SliceResult | undefined>[];
    try {
      results = await this.#results(picked);
    } catch (reason) {
      results = picked.map(() => ({ status: 'rejected', reason }));
    }
    const elapsedMs = this.#nowMs() - startedMs;
    const [first] = picked;
    this.#order.spend(first!.ticket, elapsedMs, [...this.#tickets]);
    for (const [index, { ticket, work }] of picked.entries()) {
      ticket.isComputing = false;
      ticket.busyMs += elapsedMs / picked.length;
      // A token that was computed already takes nobody's turn.
      if (work.kind !== 'token') this.#order.serve(ticket);
      this.#accept(ticket, work, results[index]!, elapsedMs);
    }
  }

  /** Of each piece: what came of it. Rejects only where an engine breaks its promise. */
  #results(picked: readonly Picked[]): Promise<readonly PromiseSettledResult<SliceResult | undefined>[]> {
    const [{ work }] = picked as [Picked];
    if (work.kind === 'call') return Promise.allSettled([work.run().then(() => undefined)]);
    if (work.kind === 'slice') return this.#engine.step(picked.map((each) => (each.work as typeof work).slice));
    // A turn of the event loop between tokens, as an engine call gives: readers read, and can abort.
    return new Promise((resolve) => setImmediate(resolve, TOKEN_IS_THERE));
  }

  #accept(ticket: Ticket, work: Work, result: PromiseSettledResult<SliceResult | undefined>, elapsedMs: number): void {
    const { job } = ticket;
    try {
      job.signal.throwIfAborted();
      if (result.status === 'rejected') throw result.reason;
      if (work.kind === 'token') work.run();
      else if (work.kind === 'slice') work.accept(result.value!, elapsedMs);
      // Text that was just shown may have been enough for its reader.
      if (!job.isDone) job.signal.throwIfAborted();
      else this.#end(ticket, undefined);
    } catch (error) {
      this.#end(ticket, { reason: error });
    }
  }

  #end(ticket: Ticket, error: { readonly reason: unknown } | undefined): void {
    if (!this.#tickets.delete(ticket)) return;
    if (error === undefined) this.#admission.observe(ticket.busyMs);
    try {
      ticket.job.release(error === undefined ? {} : { error: error.reason });
      ticket.settle(error);
    } catch (failure) {
      ticket.settle(error ?? { reason: failure });
    }
  }

  /** Nobody finds room although nobody runs: a fault of ours, and better said than waited for. */
  #failAll(): void {
    for (const ticket of [...this.#tickets]) {
      this.#end(ticket, { reason: new SdkError('ERR_INTERNAL', 'No request found room although none was running.') });
    }
  }
}
