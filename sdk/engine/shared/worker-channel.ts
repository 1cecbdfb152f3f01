/**
 * Requests to a worker thread and their answers. A worker that dies fails everything that was waiting; the next
 * request starts a new one (`generation` tells which). The thread keeps the process alive only while it works.
 */
import { Worker, type WorkerOptions } from 'node:worker_threads';
import { deserializeError, SdkError, type SerializedError } from '../../core/errors.js';
import { closeOnExit, NativeGate } from './native-gate.js';

/** From the caller to the worker. */
export interface ChannelRequest {
  readonly id: number;
  readonly method: string;
  readonly request: unknown;
}

/** The thread's workerData. */
export interface ChannelWorkerData {
  /** State of a NativeGate that the worker's native calls go through. */
  readonly gate: Int32Array;
}

/** From the worker to the caller. */
export type ChannelReply =
  | { readonly id: number; readonly response: unknown }
  | { readonly id: number; readonly error: SerializedError }
  | { readonly notice: unknown };

type RequestMap<M> = { [K in keyof M]: { request: unknown; response: unknown } };

interface Pending {
  resolve(response: never): void;
  reject(error: unknown): void;
}

export class WorkerChannel<M extends RequestMap<M>, Notice> {
  readonly #file: URL;
  readonly #options: WorkerOptions;
  readonly #onNotice: (notice: Notice) => void;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #gate: NativeGate | undefined;
  #generation = 0;
  #nextId = 1;

  constructor(file: URL, options: WorkerOptions, onNotice: (notice: Notice) => void) {
    this.#file = file;
    this.#options = options;
    this.#onNotice = onNotice;
  }

  /** Counts the workers started; state of an older one is lost. */
  get generation(): number {
    return this.#generation;
  }

  get alive(): boolean {
    return this.#worker !== undefined;
  }

  request<K extends keyof M & string>(method: K, request: M[K]['request']): Promise<M[K]['response']> {
    const worker = this.#worker ?? this.#start();
    const id = this.#nextId++;
    const answer = new Promise<M[K]['response']>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
    });
    worker.ref();
    worker.postMessage({ id, method, request } satisfies ChannelRequest);
    return answer;
  }

  /** Ends the thread after the native call that runs, if any; what is waiting fails with ERR_ENGINE_DIED. */
  async terminate(): Promise<void> {
    const worker = this.#worker;
    await this.#gate?.close();
    await worker?.terminate();
  }

  #start(): Worker {
    const gate = new NativeGate();
    const workerData: ChannelWorkerData = { gate: gate.state };
    // Not the program's own flags: `--input-type` of an --eval fails in a worker.
    const worker = new Worker(this.#file, { execArgv: [], ...this.#options, workerData });
    const forget = closeOnExit(gate);
    this.#worker = worker;
    this.#gate = gate;
    this.#generation++;
    let cause: unknown;
    worker.on('message', (reply: ChannelReply) => this.#receive(reply));
    worker.on('error', (error) => {
      cause = error;
    });
    worker.on('exit', (exitCode) => {
      forget();
      if (this.#worker === worker) this.#worker = undefined;
      this.#failPending(exitCode, cause);
    });
    worker.unref();
    return worker;
  }

  #receive(reply: ChannelReply): void {
    if ('notice' in reply) {
      this.#onNotice(reply.notice as Notice);
      return;
    }
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#worker?.unref();
    if ('error' in reply) pending?.reject(deserializeError(reply.error));
    else pending?.resolve(reply.response as never);
  }

  #failPending(exitCode: number, cause: unknown): void {
    const reason = cause instanceof Error ? cause.message : `exit code ${exitCode}`;
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of waiting) {
      const message = `The engine's worker thread ended during a call (${reason}). The next call restarts it; encode the images and start the sequences again.`;
      reject(new SdkError('ERR_ENGINE_DIED', message, { cause, details: { exitCode } }));
    }
  }
}
