/** How probable whole texts are behind a prompt, token by token: nothing is written, and nothing stays in the sequence. */
import type { PlacedImage, Sequence, SliceResult } from '../engine/engine.js';
import { logSumExp } from './log-sum-exp.js';
import type { SequenceTask, TaskPlace, WantedTokens } from './sequence-task.js';

export interface LikelihoodOutput {
  /** Of each text, in their order: the sum over its tokens, natural logarithm. */
  readonly logProbabilities: readonly number[];
  readonly prefillMs: number;
  readonly textsMs: number;
  readonly engineCalls: number;
}

/** A call computes all rows of so many tokens: with 128 256 logits each they take 16 MB. */
const ROWS_AT_ONCE = 32;

/** The prompt once, then each text behind it, which is taken back before the next one. */
export class Likelihood implements SequenceTask<LikelihoodOutput> {
  readonly #place: TaskPlace;
  readonly #texts: readonly Int32Array[];
  readonly #startedMs = performance.now();
  readonly #done: number[] = [];
  /** Of each text's first token, behind the prompt; empty until that is computed. */
  #first: readonly number[] = [];
  /** Of the text under way: tokens that are in the sequence, and the sum so far. */
  #tried = 0;
  #sum = 0;
  #sequence: Sequence;
  #images: readonly PlacedImage[];
  #pending: Int32Array;
  #prefillMs: number | undefined;
  #engineCalls = 0;

  /** @param texts none of them empty */
  constructor(place: TaskPlace, texts: readonly Int32Array[]) {
    this.#place = place;
    this.#texts = texts;
    this.#sequence = place.sequence;
    this.#images = place.images;
    this.#pending = place.tokens;
  }

  get output(): LikelihoodOutput | undefined {
    if (this.#done.length < this.#texts.length) return undefined;
    const prefillMs = this.#prefillMs!;
    const textsMs = performance.now() - this.#startedMs - prefillMs;
    return { logProbabilities: this.#done, prefillMs, textsMs, engineCalls: this.#engineCalls };
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
    const text = this.#texts[this.#done.length];
    if (text === undefined) return undefined;
    if (this.#pending.length > 0) {
      const most = this.#place.sliceTokens ?? this.#pending.length;
      if (this.#pending.length <= most) return { tokens: this.#pending, logits: 'last' };
      return { tokens: this.#pending.subarray(0, most), logits: 'none' };
    }
    const end = Math.min(this.#tried + ROWS_AT_ONCE, text.length - 1);
    return { tokens: text.subarray(this.#tried, end), logits: 'all' };
  }

  accept({ tokens, logits: kind }: WantedTokens, { logits }: SliceResult): void {
    this.#engineCalls++;
    if (kind === 'all') {
      this.#acceptText(tokens.length, logits);
      return;
    }
    this.#pending = this.#pending.subarray(tokens.length);
    this.#place.onForward(tokens);
    if (kind === 'none') return;
    this.#prefillMs ??= performance.now() - this.#startedMs;
    const normalizer = logSumExp(logits);
    this.#first = this.#texts.map(([token]) => logits[token!]! - normalizer);
    this.#beginText();
  }

  advance(): void {}

  end(): void {
    if (this.#tried > 0) this.#sequence.truncate(this.#sequence.length - this.#tried);
    this.#tried = 0;
  }

  moveTo(sequence: Sequence, images: readonly PlacedImage[], tokens: Int32Array): void {
    this.#sequence = sequence;
    this.#images = images;
    this.#pending = tokens;
    this.#tried = 0;
  }

  /** Texts of one token are known already. */
  #beginText(): void {
    for (;;) {
      const index = this.#done.length;
      const text = this.#texts[index];
      if (text === undefined) return;
      this.#tried = 0;
      this.#sum = this.#first[index]!;
      if (text.length > 1) return;
      this.#done.push(this.#sum);
    }
  }

  #acceptText(count: number, logits: Float32Array): void {
    const text = this.#texts[this.#done.length]!;
    const columns = logits.length / count;
    for (let i = 0; i < count; i++) {
      const row = logits.subarray(i * columns, (i + 1) * columns);
      this.#sum += row[text[this.#tried + i + 1]!]! - logSumExp(row);
    }
    this.#tried += count;
    if (this.#tried < text.length - 1) return;
    this.end();
    this.#done.push(this.#sum);
    this.#beginText();
  }
}
