import { SdkError } from 'scenebus';

/** Work on the model. It may be started again from the beginning when a question pushed it aside. */
export type Work<T> = (signal: AbortSignal) => Promise<T>;

interface Job {
  readonly isQuestion: boolean;
  readonly callerSignal: AbortSignal;
  readonly work: Work<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
  pushedAside: number;
}

/** A description that was pushed aside this often runs to its end, so that many questions cannot silence the camera. */
const MAX_PUSHED_ASIDE = 2;

/**
 * One thing at a time on the model: questions before descriptions. A question that comes while a description runs
 * pushes it aside (it stops at the next token and starts again later, with the newest frame).
 */
export class Scheduler implements AsyncDisposable {
  readonly #queueLength: number;
  readonly #questions: Job[] = [];
  readonly #descriptions: Job[] = [];
  #running: { readonly job: Job; readonly stop: AbortController; readonly done: Promise<void> } | undefined;
  #isClosed = false;

  constructor(options: { readonly queueLength: number }) {
    this.#queueLength = options.queueLength;
  }

  get waitingQuestions(): number {
    return this.#questions.length;
  }

  /** @throws SdkError ERR_BUSY when too many questions wait; `signal.reason` when aborted; what the work throws. */
  async question<T>(work: Work<T>, signal: AbortSignal): Promise<T> {
    if (this.#questions.length >= this.#queueLength)
      throw new SdkError(
        'ERR_BUSY',
        `Expected at most ${this.#queueLength} questions to wait, and so many do. Ask again in a moment.`,
      );
    const answer = this.#enqueue(this.#questions, true, work, signal);
    const running = this.#running;
    if (running !== undefined && !running.job.isQuestion && running.job.pushedAside < MAX_PUSHED_ASIDE)
      running.stop.abort(PUSHED_ASIDE);
    return answer;
  }

  /** Runs when no question waits. */
  description<T>(work: Work<T>, signal: AbortSignal): Promise<T> {
    return this.#enqueue(this.#descriptions, false, work, signal);
  }

  /** Rejects everything that waits, stops what runs and waits for it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    for (const job of [...this.#questions.splice(0), ...this.#descriptions.splice(0)]) job.reject(closed());
    this.#running?.stop.abort(closed());
    await this.#running?.done;
  }

  async #enqueue<T>(queue: Job[], isQuestion: boolean, work: Work<T>, callerSignal: AbortSignal): Promise<T> {
    callerSignal.throwIfAborted();
    if (this.#isClosed) throw closed();
    let leave = () => {};
    try {
      return await new Promise<T>((resolve, reject) => {
        const settle = resolve as (value: unknown) => void;
        const job: Job = { isQuestion, callerSignal, work, resolve: settle, reject, pushedAside: 0 };
        // Who gives up while waiting frees the place at once; the running job hears of it through its own signal.
        leave = () => {
          const index = queue.indexOf(job);
          if (index < 0) return;
          queue.splice(index, 1);
          reject(callerSignal.reason);
        };
        callerSignal.addEventListener('abort', leave, { once: true });
        queue.push(job);
        this.#startNext();
      });
    } finally {
      callerSignal.removeEventListener('abort', leave);
    }
  }

  #startNext(): void {
    if (this.#running !== undefined) return;
    const job = this.#questions.shift() ?? this.#descriptions.shift();
    if (job === undefined) return;
    const stop = new AbortController();
    this.#running = { job, stop, done: this.#run(job, stop) };
  }

  async #run(job: Job, stop: AbortController): Promise<void> {
    // Not before the caller has noted that this runs, even when the work fails at once.
    await null;
    try {
      job.resolve(await job.work(AbortSignal.any([job.callerSignal, stop.signal])));
    } catch (error) {
      const isPushedAside = stop.signal.reason === PUSHED_ASIDE && !job.callerSignal.aborted && !this.#isClosed;
      if (isPushedAside) {
        job.pushedAside++;
        this.#descriptions.unshift(job);
      } else {
        job.reject(error);
      }
    } finally {
      this.#running = undefined;
      this.#startNext();
    }
  }
}

const PUSHED_ASIDE = new DOMException('A question came first', 'AbortError');

function closed(): SdkError {
  return new SdkError('ERR_DISPOSED', 'The service is stopping.');
}
