/** What every backend's sequence does alike: count tokens, refuse what cannot be, run one call at a time. */
import { SdkError } from '../../core/errors.js';
import type { Engine, Sequence, Slice, SliceOptions, SliceResult, StepResult } from '../engine.js';

/** One sequence as its backend sees it. `length` is the number of tokens that count; what lies behind is forgotten. */
export interface SequenceBackend {
  /** @throws SdkError, or signal.reason, when the call cannot be made; nothing has happened then */
  check(length: number, tokens: Int32Array, options: SliceOptions): void;
  /** Appends `tokens` behind the first `length`. Logits that nobody wants may come all the same. */
  forward(length: number, tokens: Int32Array, options: SliceOptions): Promise<SliceResult>;
  /** Called once; a running call may still end. */
  release(): void;
}

const NO_LOGITS: SliceResult = { logits: new Float32Array(0), logitsRows: 0 };

/** `Engine.step` of backends that compute one slice after another, in the order in which they are asked. */
export function stepInTurn(engine: Engine, slices: readonly Slice[]): Promise<StepResult> {
  const [first] = slices;
  // What `allSettled` gives, for the step of every token of a single text, at half the price.
  if (slices.length === 1) return forward(engine, first!).then(ofValue, ofReason);
  return Promise.allSettled(slices.map((slice) => forward(engine, slice)));
}

const ofValue = (value: SliceResult): StepResult => [{ status: 'fulfilled', value }];
const ofReason = (reason: unknown): StepResult => [{ status: 'rejected', reason }];

function forward(engine: Engine, slice: Slice): Promise<SliceResult> {
  const { sequence } = slice;
  if (sequence instanceof TrackedSequence && sequence.engine === engine) return sequence.forward(slice.tokens, slice);
  const message = 'Expected sequences that this engine created, received another.';
  return Promise.reject(new SdkError('ERR_ARGUMENT_INVALID', message));
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
      const result = await this.#backend.forward(this.#length, tokens, options);
      if (options.branches === undefined) this.#length += added;
      return options.logits === 'none' ? { ...result, ...NO_LOGITS } : result;
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
