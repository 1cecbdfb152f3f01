/** What devices publish, as loops and listeners of a client's program. */
import type { z } from 'zod';
import type { Logger } from '../../core/logger.js';
import type { CallOptions } from '../../core/types.js';
import { readPayload } from '../contract/decoding.js';
import type { Link } from '../transport/link.js';
import type { ListenOptions } from './client-types.js';
import type { Subscription, Subscriptions } from './subscriptions.js';
import type { Stamped, Stream } from './unread-values.js';

export interface StreamsOptions {
  readonly subscriptions: Subscriptions;
  /** The connection, if there is one now. */
  readonly link: () => Link | undefined;
  /** @throws SdkError ERR_DISPOSED. */
  readonly checkOpen: () => void;
  readonly logger: Logger;
}

export class Streams {
  readonly #options: StreamsOptions;
  readonly #open = new Set<{ end(): void }>();

  constructor(options: StreamsOptions) {
    this.#options = options;
  }

  endAll(): void {
    for (const stream of this.#open) stream.end();
  }

  /** Values of a subscription, until the reader stops or the client closes. */
  async *follow<T extends Stamped>(
    filter: string,
    schema: z.ZodType<T>,
    options: CallOptions,
    stream: Stream<T>,
    accept: (value: T, isRetained: boolean) => boolean = () => true,
  ): AsyncIterableIterator<T> {
    this.#options.checkOpen();
    options.signal?.throwIfAborted();
    const subscription: Subscription = {
      filter,
      receive: (topic, value, isRetained) => {
        const parsed = readPayload(schema, value);
        if (parsed.success && accept(parsed.data, isRetained)) stream.push(topic, parsed.data);
        else if (!parsed.success)
          this.#options.logger.log('debug', 'Skipped a message that does not fit its schema', { topic });
      },
    };
    this.#open.add(stream);
    try {
      await this.#options.subscriptions.add(subscription, this.#options.link());
      for (;;) {
        const value = await stream.next(options.signal);
        if (value === undefined) return;
        yield value;
      }
    } finally {
      this.#open.delete(stream);
      await this.#options.subscriptions.remove(subscription, this.#options.link());
    }
  }

  /** Reads until told to stop; a listener that throws is logged and goes on hearing. */
  listen<T>(
    open: (signal: AbortSignal) => AsyncIterable<T>,
    listener: (value: T) => void,
    { signal, onError }: CallOptions & ListenOptions,
  ): () => void {
    const end = new AbortController();
    const stop = (): void => {
      signal?.removeEventListener('abort', stop);
      end.abort();
    };
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted) end.abort();
    const read = async (): Promise<void> => {
      try {
        for await (const value of open(end.signal)) {
          try {
            listener(value);
          } catch (error) {
            this.#options.logger.log('error', 'A listener of the bus client failed', { error: String(error) });
          }
        }
      } catch (error) {
        if (end.signal.aborted) return;
        if (onError === undefined)
          this.#options.logger.log('error', 'The bus client stopped listening', { error: String(error) });
        else onError(error);
      } finally {
        signal?.removeEventListener('abort', stop);
      }
    };
    void read();
    return stop;
  }
}
