/**
 * One text in the making, as an object that can be left and taken up at any token: it says which tokens it wants
 * computed next and takes the logits. It never calls the engine, so whoever does can serve many.
 */
import { SdkError } from '../core/errors.js';
import type { PlacedImage, Sequence, SliceResult } from '../engine/engine.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { isCloseCall } from './drafting/close-call.js';
import type { DraftSource } from './drafting/index.js';
import { likeliestTokens } from './likeliest-tokens.js';
import { logSumExp } from './log-sum-exp.js';
import type { SequenceTask, TaskPlace, WantedTokens } from './sequence-task.js';
import { isDeadEnd, type TokenMask } from './token-mask.js';
import { type GeneratedToken, WrittenText } from './written-text.js';

/** `stop`: the model ended or a stop string came. `length`: maxNewTokens or the context ended first. */
export type FinishReason = 'stop' | 'length';

/** Chooses a token from logits `[vocabularySize]`, which it leaves as they are. */
export type Sampler = (logits: Float32Array) => number;

/** Drafts for a generation, and how its engine's rows compare (see `EngineCapabilities.closeCallMargin`). */
export interface StepDrafts {
  readonly source: DraftSource;
  readonly closeCallMargin: number;
}

/** What a text is made from and with. */
export interface GenerationInput extends TaskPlace {
  readonly tokenizer: Tokenizer;
  readonly sample: Sampler;
  readonly mask?: TokenMask | undefined;
  readonly stopIds: ReadonlySet<number>;
  readonly stopStrings: readonly string[];
  readonly maxNewTokens: number;
  /** Called with text as it becomes certain. */
  readonly onText: (text: string) => void;
  /** So many of the likeliest tokens are kept for each place of the text. Default: none. */
  readonly likeliest?: number | undefined;
  /** Guesses to verify several at once. Only for samplers that choose the likeliest token. */
  readonly drafts?: StepDrafts | undefined;
}

/** The whole text, and what it took. */
export interface GenerationOutput {
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly tokens: readonly GeneratedToken[];
  /** The stop token included. */
  readonly generatedTokens: number;
  /** From the first wish to the first token, whatever else the engine did in between. */
  readonly prefillMs: number;
  readonly decodeMs: number;
  /** Slices that the engine computed, the prompt's included. */
  readonly engineCalls: number;
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
}

/** A call of [last token, draft…]: row `taken` follows the first `taken` tokens of the draft. */
interface Verification {
  readonly draft: readonly number[];
  readonly rows: Float32Array;
  /** Tokens in the sequence before the draft. */
  readonly start: number;
  taken: number;
}

/**
 * Every token is chosen from one logits row after the other, exactly as without drafts: a drafted token only counts if
 * the same was chosen. Masks, stops, limits and log probabilities therefore know nothing of drafts.
 */
export class Generation implements SequenceTask<GenerationOutput> {
  readonly #input: GenerationInput;
  readonly #startedMs: number;
  readonly #text: WrittenText;
  #sequence: Sequence;
  #images: readonly PlacedImage[];
  /** Not yet in the sequence, and certain: of the prompt, or the token that was chosen last. */
  #pending: Int32Array;
  /** Behind the pending token, in the same call. */
  #draft: readonly number[] = [];
  /** A row is computed again by itself: its tokens were told already. */
  #isAgain = false;
  #isPrompt = true;
  #verification: Verification | undefined;
  #last = Int32Array.of();
  #output: GenerationOutput | undefined;
  #generatedTokens = 0;
  #prefillMs = 0;
  #engineCalls = 0;
  #draftedTokens = 0;
  #acceptedTokens = 0;

  constructor(input: GenerationInput) {
    this.#input = input;
    this.#startedMs = performance.now();
    this.#text = new WrittenText(input.tokenizer, input.stopStrings, input.onText);
    this.#sequence = input.sequence;
    this.#images = input.images;
    this.#pending = input.tokens;
  }

  /** The whole result, once there is one. */
  get output(): GenerationOutput | undefined {
    return this.#output;
  }

  get sequence(): Sequence {
    return this.#sequence;
  }

  get images(): readonly PlacedImage[] {
    return this.#images;
  }

  /** What to compute next; undefined: nothing, the next row is there already (`advance`), or all is done. */
  get wanted(): WantedTokens | undefined {
    if (this.#output !== undefined || this.#verification !== undefined) return undefined;
    if (this.#draft.length > 0) return { tokens: Int32Array.of(...this.#pending, ...this.#draft), logits: 'all' };
    const most = this.#input.sliceTokens ?? this.#pending.length;
    if (this.#pending.length <= most) return { tokens: this.#pending, logits: 'last' };
    return { tokens: this.#pending.subarray(0, most), logits: 'none' };
  }

  /**
   * Takes what was computed of `wanted`.
   * @throws SdkError ERR_ENGINE_FAILED for logits that are no numbers, ERR_ANSWER_INCOMPLETE; what masks throw
   */
  accept({ tokens, logits: kind }: WantedTokens, { logits }: SliceResult, elapsedMs: number): void {
    this.#engineCalls++;
    // The prompt's tokens have one row of logits, and vision keys that are new to the caches.
    if (!this.#isPrompt) this.#input.drafts?.source.observe(tokens.length, elapsedMs);
    const certain = kind === 'all' ? tokens.subarray(0, 1) : tokens;
    this.#pending = this.#pending.subarray(certain.length);
    this.#last = certain.slice(-1);
    if (kind === 'all') {
      const draft = this.#draft;
      this.#draft = [];
      this.#draftedTokens += draft.length;
      this.#verification = { draft, rows: logits, start: this.#sequence.length - draft.length, taken: 0 };
    }
    if (!this.#isAgain) this.#input.onForward(certain);
    if (kind === 'none') return;
    this.#isPrompt = false;
    this.#isAgain = false;
    this.#choose(kind === 'all' ? rowOf(this.#verification!) : logits);
  }

  /** Takes the next row of a draft that came true so far. */
  advance(): void {
    if (this.#verification !== undefined) this.#choose(rowOf(this.#verification));
  }

  /** Forgets drafted tokens that were not chosen. The sequence then holds what plain decoding would have left. */
  end(): void {
    if (this.#verification === undefined) return;
    this.#sequence.truncate(this.#verification.start + this.#verification.taken);
    this.#verification = undefined;
  }

  /** Goes on in another sequence, when the one it had was given away. */
  moveTo(sequence: Sequence, images: readonly PlacedImage[], tokens: Int32Array): void {
    this.#verification = undefined;
    this.#draft = [];
    this.#isAgain = false;
    this.#isPrompt = true;
    this.#sequence = sequence;
    this.#images = images;
    this.#pending = tokens;
  }

  /** Certain tokens that have not entered the sequence. */
  get pending(): Int32Array {
    return this.#isAgain ? Int32Array.of() : this.#pending;
  }

  #choose(logits: Float32Array): void {
    const { mask, sample, stopIds, maxNewTokens } = this.#input;
    let allowed = logits;
    if (mask !== undefined) {
      allowed = logits.slice();
      mask.apply(allowed);
    }
    if (this.#mustDecideAlone(allowed)) return;
    const normalizer = logSumExp(logits);
    if (mask !== undefined && isDeadEnd(allowed)) throw deadEnd(this.#text.text);
    const id = sample(allowed);
    mask?.accept(id);
    this.#generatedTokens++;
    if (this.#generatedTokens === 1) this.#prefillMs = performance.now() - this.#startedMs;
    if (stopIds.has(id)) {
      this.#finish(this.#text.end() ?? 'stop');
      return;
    }
    const { draft, taken } = this.#verification ?? { draft: [], taken: 0 };
    if (draft[taken] === id) this.#acceptedTokens++;
    this.#input.drafts?.source.accept(id);
    const { likeliest: count = 0 } = this.#input;
    const likeliest = count === 0 ? [] : likeliestTokens(logits, normalizer, count);
    if (this.#text.push({ id, logProbability: logits[id]! - normalizer, likeliest })) this.#finish('stop');
    else if (this.#generatedTokens >= maxNewTokens) this.#finish(this.#text.end() ?? 'length');
    else this.#goOnFrom(id);
  }

  /**
   * Whether logits are too near to each other to be decided by a row that was computed among others. Then it is computed
   * once more, alone.
   */
  #mustDecideAlone(row: Float32Array): boolean {
    const verification = this.#verification;
    const margin = this.#input.drafts?.closeCallMargin ?? 0;
    if (verification === undefined || margin === 0 || !isCloseCall(row, margin)) return false;
    this.#sequence.truncate(verification.start + verification.taken - 1);
    this.#verification = undefined;
    this.#pending = this.#last;
    this.#isAgain = true;
    return true;
  }

  #goOnFrom(id: number): void {
    const verification = this.#verification;
    const token = Int32Array.of(id);
    if (verification !== undefined && verification.draft[verification.taken] === id) {
      verification.taken++;
      this.#last = token;
      this.#input.onForward(token);
      return;
    }
    this.end();
    // No more are drafted than can be used.
    const room = this.#input.maxNewTokens - this.#generatedTokens;
    this.#pending = token;
    const draft = this.#input.drafts?.source.propose(room - 1) ?? [];
    const { mask } = this.#input;
    this.#draft = draft.slice(0, mask?.countAllowed?.(draft) ?? draft.length);
  }

  #finish(finishReason: FinishReason): void {
    this.end();
    this.#output = {
      text: this.#text.text,
      finishReason,
      tokens: this.#text.tokens,
      generatedTokens: this.#generatedTokens,
      prefillMs: this.#prefillMs,
      decodeMs: performance.now() - this.#startedMs - this.#prefillMs,
      engineCalls: this.#engineCalls,
      draftedTokens: this.#draftedTokens,
      acceptedTokens: this.#acceptedTokens,
    };
  }
}

function rowOf({ rows, draft, taken }: Verification): Float32Array {
  const columns = rows.length / (draft.length + 1);
  return rows.subarray(taken * columns, (taken + 1) * columns);
}

function deadEnd(text: string): SdkError {
  return new SdkError(
    'ERR_ANSWER_INCOMPLETE',
    `Expected the grammar to allow a token after ${text.length} characters, but it allows none. What was written is in details.text.`,
    { details: { text } },
  );
}
