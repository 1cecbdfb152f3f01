import { SdkError } from '../core/errors.js';
import type { Answer, TokenStream } from './types.js';

/** Produces the answer, telling its text piece by piece, until it ends or the signal aborts. */
export type Production = (onText: (text: string) => void, signal: AbortSignal) => Promise<Answer>;

/**
 * A stream of whatever produces an answer: a model that is reached in another way, for example.
 * @param production started by the first read and then run to its end; what nobody has read yet waits here, bounded by
 * the length of one answer.
 * @param signal ends it, as leaving the loop over the stream does
 */
export function createTokenStream(production: Production, signal: AbortSignal | undefined): TokenStream {
  return new ProducedStream(production, signal);
}

class ProducedStream implements TokenStream {
  readonly #production: Production;
  readonly #signal: AbortSignal | undefined;
  readonly #leave = new AbortController();
  readonly #pieces: string[] = [];
  #answer: Promise<Answer> | undefined;
  #ended = false;
  #iterated = false;
  #wake: (() => void) | undefined;

  constructor(production: Production, signal: AbortSignal | undefined) {
    this.#production = production;
    this.#signal = signal;
  }

  collect(): Promise<Answer> {
    this.#answer ??= this.#start();
    return this.#answer;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, void> {
    if (this.#iterated) {
      throw new SdkError(
        'ERR_ARGUMENT_INVALID',
        'Expected a token stream to be iterated once but it was iterated again. Call generate() again.',
      );
    }
    this.#iterated = true;
    const answer = this.collect();
    answer.catch(() => {}); // handled below; it may fail while the reader is busy with a piece
    try {
      for (;;) {
        const piece = this.#pieces.shift();
        if (piece !== undefined) yield piece;
        else if (this.#ended) break;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      await answer; // throws what ended it
    } finally {
      // Left early: stop, and return only when the engine is free again.
      if (!this.#ended) {
        this.#leave.abort(new DOMException('The reader left the token stream.', 'AbortError'));
        await answer.catch(() => {});
      }
    }
  }

  async #start(): Promise<Answer> {
    const onAbort = () => this.#leave.abort(this.#signal?.reason);
    if (this.#signal?.aborted) onAbort();
    this.#signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await this.#produce();
    } finally {
      this.#signal?.removeEventListener('abort', onAbort);
    }
  }

  async #produce(): Promise<Answer> {
    try {
      return await this.#production((text) => this.#push(text), this.#leave.signal);
    } finally {
      this.#ended = true;
      this.#notify();
    }
  }

  #push(text: string): void {
    this.#pieces.push(text);
    this.#notify();
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
