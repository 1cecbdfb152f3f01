/** What every backend's sequence does alike: count tokens, refuse what cannot be, run one call at a time. */
import { SdkError } from '../../core/errors.js';
import type { Engine, Sequence, Slice, SliceOptions, SliceResult, StepResult } from '../engine.js';

/** No backend leaves its last matrix out yet: of a piece of a prompt that is one logits row of hundreds of tokens. */
export type BackendSliceOptions = SliceOptions & { readonly logits: 'last' | 'all' };

/** One sequence as its backend sees it. `length` is the number of tokens that count; what lies behind is forgotten. */
export interface SequenceBackend {
  /** @throws SdkError, or signal.reason, when the call cannot be made; nothing has happened then */
  check(length: number, tokens: Int32Array, options: SliceOptions): void;
  /** Appends `tokens` behind the first `length`. */
  forward(length: number, tokens: Int32Array, options: BackendSliceOptions): Promise<SliceResult>;
  /** Called once; a running call may still end. */
  release(): void;
}

const NO_LOGITS: SliceResult = { logits: new Float32Array(0), logitsRows: 0 };

function withAttention({ attention }: SliceResult): Pick<SliceResult, 'attention'> {
  return attention === undefined ? {} : { attention };
}

/** `Engine.step` of backends that compute one slice after another, in the order in which they are asked. */
export async function stepInTurn(engine: Engine, slices: readonly Slice[]): Promise<StepResult> {
  return await Promise.allSettled(
    slices.map(async ({ sequence, tokens, ...options }) => {
      if (sequence instanceof TrackedSequence && sequence.engine === engine) return sequence.forward(tokens, options);
      throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected sequences that this engine created, received another.');
    }),
  );
}

/** A sequence of any backend. One call at a time; each call appends its tokens, or none of them when it fails. */
export class TrackedSequence implements Sequence {
  readonly engine: Engine;
  readonly #backend: SequenceBackend;
  #length = 0;
  #running = false;
  #disposed = false;

  constructor(engine: Engine, backend: SequenceBackend) {
    this.engine = engine;
    this.#backend = backend;
  }

  get length(): number {
    return this.#length;
  }

  async forward(tokens: Int32Array, options: SliceOptions): Promise<SliceResult> {
    this.#checkUsable();
    this.#backend.check(this.#length, tokens, options);
    const added = tokens.length;
    this.#running = true;
    try {
      const logits = options.logits === 'none' ? 'last' : options.logits;
      const result = await this.#backend.forward(this.#length, tokens, { ...options, logits });
      this.#length += added;
      return options.logits === 'none' ? { ...NO_LOGITS, ...withAttention(result) } : result;
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
