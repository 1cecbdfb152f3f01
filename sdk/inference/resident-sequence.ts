import type { Engine, Sequence } from '../engine/engine.js';

/** An image of a prompt: which pixels, and where its token stands. */
export interface PromptImage {
  readonly key: string;
  readonly tokenIndex: number;
}

/**
 * The sequence of the previous generation, kept so that the next prompt starts where the two begin to differ: a
 * second question about a frame, the next turn of a conversation. Not where the logits of a token depend much on which
 * others are computed with it: there the same prompt would get another answer the second time.
 */
export class ResidentSequence implements Disposable {
  readonly #engine: Engine;
  #sequence: Sequence | undefined;
  #ids: number[] = [];
  #images: readonly PromptImage[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * The sequence, cut to what the prompt shares with it; at least one token of the prompt is left to forward.
   * Its `length` is the number of tokens that need not be computed again.
   */
  prepare(ids: Int32Array, images: readonly PromptImage[]): Sequence {
    if (this.#sequence?.length !== this.#ids.length) this[Symbol.dispose](); // never trust a cache that disagrees
    const shared = Math.min(this.#sharedTokens(ids, images), ids.length - 1);
    this.#sequence ??= this.#engine.createSequence();
    this.#sequence.truncate(shared);
    this.#ids = this.#ids.slice(0, shared);
    this.#images = images;
    return this.#sequence;
  }

  /** Tokens that entered the sequence. */
  append(tokens: Int32Array): void {
    for (const id of tokens) this.#ids.push(id);
  }

  /** Empty afterwards, and good for the next prompt. */
  [Symbol.dispose](): void {
    this.#sequence?.[Symbol.dispose]();
    this.#sequence = undefined;
    this.#ids = [];
    this.#images = [];
  }

  #sharedTokens(ids: Int32Array, images: readonly PromptImage[]): number {
    if (!this.#engine.info.capabilities.prefixReuse) return 0;
    let shared = 0;
    while (shared < Math.min(ids.length, this.#ids.length) && ids[shared] === this.#ids[shared]) shared++;
    const differing = this.#firstDifferingImage(images);
    if (differing === undefined) return shared;
    // Rows before an image do not depend on it, except in the Hugging Face numerics (spec §9, point 2).
    return this.#engine.info.numerics === 'meta' ? Math.min(shared, differing) : 0;
  }

  /** Index of the first token whose image is another one, there or here; undefined when all are the same. */
  #firstDifferingImage(images: readonly PromptImage[]): number | undefined {
    for (let i = 0; i < Math.max(images.length, this.#images.length); i++) {
      const [before, now] = [this.#images[i], images[i]];
      if (before?.key === now?.key && before?.tokenIndex === now?.tokenIndex) continue;
      return Math.min(before?.tokenIndex ?? Number.POSITIVE_INFINITY, now?.tokenIndex ?? Number.POSITIVE_INFINITY);
    }
    return undefined;
  }
}
