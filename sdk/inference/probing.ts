/** Where a model looks at the end of a prompt: the prompt is computed, and nothing is written. */
import type { AttentionRequest, AttentionWeights, PlacedImage, Sequence, SliceResult } from '../engine/engine.js';
import type { SequenceTask, TaskPlace, WantedTokens } from './sequence-task.js';

export interface ProbingOutput {
  /** Of the prompt's last token. */
  readonly attention: AttentionWeights;
  readonly prefillMs: number;
  readonly engineCalls: number;
}

/**
 * Attention of chosen heads at the prompt's last token. That token is always computed, however much of the prompt was
 * there already: a sequence leaves at least one.
 */
export class Probing implements SequenceTask<ProbingOutput> {
  readonly #place: TaskPlace;
  readonly #heads: AttentionRequest['heads'];
  readonly #startedMs = performance.now();
  #sequence: Sequence;
  #images: readonly PlacedImage[];
  #pending: Int32Array;
  #engineCalls = 0;
  #output: ProbingOutput | undefined;

  constructor(place: TaskPlace, heads: AttentionRequest['heads']) {
    this.#place = place;
    this.#heads = heads;
    this.#sequence = place.sequence;
    this.#images = place.images;
    this.#pending = place.tokens;
  }

  get output(): ProbingOutput | undefined {
    return this.#output;
  }

  get sequence(): Sequence {
    return this.#sequence;
  }

  get images(): readonly PlacedImage[] {
    return this.#images;
  }

  get pending(): Int32Array {
    return this.#pending;
  }

  get wanted(): WantedTokens | undefined {
    if (this.#output !== undefined) return undefined;
    const most = this.#place.sliceTokens ?? this.#pending.length;
    if (this.#pending.length > most) return { tokens: this.#pending.subarray(0, most), logits: 'none' };
    const attention = { heads: this.#heads, tokens: [this.#pending.length - 1] };
    return { tokens: this.#pending, logits: 'none', attention };
  }

  accept({ tokens }: WantedTokens, { attention }: SliceResult): void {
    this.#engineCalls++;
    this.#pending = this.#pending.subarray(tokens.length);
    this.#place.onForward(tokens);
    if (attention === undefined) return;
    const prefillMs = performance.now() - this.#startedMs;
    this.#output = { attention, prefillMs, engineCalls: this.#engineCalls };
  }

  advance(): void {}

  end(): void {}

  moveTo(sequence: Sequence, images: readonly PlacedImage[], tokens: Int32Array): void {
    this.#sequence = sequence;
    this.#images = images;
    this.#pending = tokens;
  }
}
