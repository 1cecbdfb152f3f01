/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
import { Readable } from 'node:stream';
import type { Logger } from 'scenebus';
import { refusalOf } from '../http/http-error.js';

/** What a reader may be behind by, in bytes; one that is further behind is let go, and comes again. */
const MAX_BEHIND_BYTES = 1 << 20;

export class EventStream {
  readonly readable: Readable;
  #onClose: (() => void)[] = [];

  constructor() {
    this.readable = new Readable({ read() {} });
    this.readable.once('close', () => {
      for (const end of this.#onClose.splice(0)) end();
    });
  }

  get isClosed(): boolean {
    return this.readable.destroyed || this.readable.readableEnded;
  }

  /** Called once, also when the reader went away. */
  onClose(end: () => void): void {
    if (this.isClosed) end();
    else this.#onClose.push(end);
  }

  send(type: string, data: object): void {
    this.#push(`event: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  /** Keeps proxies from closing a stream in which nothing happens. */
  beat(): void {
    this.#push(':\n\n');
  }

  end(): void {
    if (!this.isClosed) this.readable.push(null);
  }

  #push(text: string): void {
    if (this.isClosed) return;
    if (this.readable.readableLength > MAX_BEHIND_BYTES) this.readable.destroy();
    else this.readable.push(text);
  }
}

/** What ends a stream of work that failed. */
export interface ErrorEvent {
  readonly type: 'error';
  readonly code: string;
  readonly message: string;
}

/**
 * Work that tells what it finds as it finds it. It is aborted when its reader goes away; its failure is the last event.
 * @param what in the log, when it fails for a reason that nobody foresaw
 */
export function streamWork<Event extends { readonly type: string }>(
  { logger, what }: { readonly logger: Logger; readonly what: string },
  work: (send: (event: Event) => void, signal: AbortSignal) => Promise<void>,
): Readable {
  const stream = new EventStream();
  const gone = new AbortController();
  stream.onClose(() => gone.abort());
  void work((event) => stream.send(event.type, event), gone.signal)
    .catch((error: unknown) => {
      if (gone.signal.aborted) return;
      const refusal = refusalOf(error);
      if (refusal === undefined) logger.log('error', `${what} failed`, { error });
      const { code, message } = refusal ?? { code: 'ERR_INTERNAL', message: 'The device failed; see its log.' };
      stream.send('error', { type: 'error', code, message } satisfies ErrorEvent);
    })
    .finally(() => stream.end());
  return stream.readable;
}
