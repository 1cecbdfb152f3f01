/** What every backend's sequence does alike: count tokens, refuse what cannot be, run one call at a time. */
import { SdkError } from '../../core/errors.js';
import type { ForwardOptions, ForwardResult, Sequence } from '../engine.js';

/** One sequence as its backend sees it. `length` is the number of tokens that count; what lies behind is forgotten. */
export interface SequenceBackend {
  /** @throws SdkError, or signal.reason, when the call cannot be made; nothing has happened then */
  check(length: number, tokens: Int32Array, options: ForwardOptions): void;
  /** Appends `tokens` behind the first `length`. */
  forward(length: number, tokens: Int32Array, options: ForwardOptions): Promise<ForwardResult>;
  /** Called once; a running call may still end. */
  release(): void;
}

export class TrackedSequence implements Sequence {
  readonly #backend: SequenceBackend;
  #length = 0;
  #running = false;
  #disposed = false;

  constructor(backend: SequenceBackend) {
    this.#backend = backend;
  }

  get length(): number {
    return this.#length;
  }

  async forward(tokens: Int32Array, options: ForwardOptions): Promise<ForwardResult> {
    this.#checkUsable();
    this.#backend.check(this.#length, tokens, options);
    const added = tokens.length;
    this.#running = true;
    try {
      const result = await this.#backend.forward(this.#length, tokens, options);
      this.#length += added;
      return result;
    } finally {
      this.#running = false;
    }
  }

  truncate(length: number): void {
    this.#checkUsable();
    if (!Number.isInteger(length) || length < 0 || length > this.#length) {
      const expected = `a whole number of 0 to ${this.#length}, the tokens in the sequence`;
      throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a length as ${expected}, but received ${length}.`);
    }
    this.#length = length;
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#backend.release();
  }

  #checkUsable(): void {
    if (this.#disposed) throw new SdkError('ERR_DISPOSED', 'The sequence was disposed; create another one.');
    if (this.#running) throw new SdkError('ERR_BUSY', 'The sequence is computing; await the running call first.');
  }
}
