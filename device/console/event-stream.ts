/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
import { Readable } from 'node:stream';

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
