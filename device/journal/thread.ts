/** The journal's thread, seen from outside: calls that return promises, and an end that nobody waits for. */
import { Worker } from 'node:worker_threads';
import type { HealthQuery, HealthSeries } from './health-series.js';
import type {
  FoundScene,
  JournalFrame,
  JournalPage,
  JournalPicture,
  JournalQuery,
  PictureQuery,
  SceneSearch,
} from './query.js';
import type { StoredEvent, StoredKind } from './record.js';
import type { JournalLimits, JournalWrite, StoreSize } from './store.js';

/** What the thread can be asked. */
export interface JournalCalls {
  /** Opens the file, once. With a time (Unix, milliseconds) what is there is set aside first: its new name comes back. */
  open(file: string, setAsideAtMs: number | undefined): { readonly setAside: string | undefined };
  /** Numbers of the records. */
  write(write: JournalWrite): number[];
  cursor(sink: string): number;
  forget(sink: string): void;
  after(seq: number, kinds: readonly StoredKind[], limit: number): StoredEvent[];
  query(query: JournalQuery): JournalPage;
  findScenes(search: SceneSearch): FoundScene[];
  healthSeries(query: HealthQuery): HealthSeries;
  frame(id: string, run: string | undefined): JournalFrame | undefined;
  pictures(query: PictureQuery): JournalPicture[];
  retain(limits: JournalLimits, nowMs: number): { readonly events: number; readonly frames: number };
  size(): StoreSize;
  /** For reading beside a running service; nothing is written. */
  openReadOnly(file: string): void;
}

export interface CallMessage {
  readonly number: number;
  readonly name: keyof JournalCalls;
  readonly args: readonly unknown[];
}

export type ReplyMessage =
  | { readonly number: number; readonly value: unknown }
  | { readonly number: number; readonly failure: CallFailure };

export interface CallFailure {
  readonly message: string;
  /** Of an SdkError. */
  readonly code?: string | undefined;
  /** The database itself is spoilt. */
  readonly isDamage: boolean;
}

/** A call that the thread could not carry out. */
export class JournalFailure extends Error {
  readonly code: string | undefined;
  readonly isDamage: boolean;

  constructor({ message, code, isDamage }: CallFailure) {
    super(message);
    this.name = 'JournalFailure';
    this.code = code;
    this.isDamage = isDamage;
  }
}

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

export class JournalThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #count = 0;
  #ended: Error | undefined;

  constructor() {
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), { name: 'scenebus journal', execArgv: [] });
    this.#worker.on('message', (reply: ReplyMessage) => {
      const waiting = this.#waiting.get(reply.number);
      this.#waiting.delete(reply.number);
      if ('failure' in reply) waiting?.reject(new JournalFailure(reply.failure));
      else waiting?.resolve(reply.value as never);
    });
    this.#worker.on('error', (error) => this.#end(error));
    this.#worker.on('exit', (code) => this.#end(new Error(`the journal's thread ended with ${code}`)));
  }

  /** @throws JournalFailure; Error when the thread is gone. */
  call<Name extends keyof JournalCalls>(
    name: Name,
    ...args: Parameters<JournalCalls[Name]>
  ): Promise<ReturnType<JournalCalls[Name]>> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(this.#ended);
        return;
      }
      this.#count += 1;
      this.#waiting.set(this.#count, { resolve, reject });
      this.#worker.postMessage({ number: this.#count, name, args } satisfies CallMessage);
    });
  }

  /** Ends the thread, which closes the file. A transaction that is not committed never was. */
  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const waiting of [...this.#waiting.values()]) waiting.reject(error);
    this.#waiting.clear();
  }
}
