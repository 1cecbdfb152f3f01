/** From a chosen token to the logits of the next: one engine call a token, or one for several that a draft foresaw. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PlacedImage, Sequence } from '../engine/engine.js';
import { isCloseCall } from './drafting/close-call.js';
import type { DraftSource } from './drafting/index.js';

/** Drafts for a generation, and how its engine's rows compare (see `closeCallMargin`). */
export interface StepDrafts {
  readonly source: DraftSource;
  readonly closeCallMargin: number;
}

export interface TokenStepsInput {
  readonly sequence: Sequence;
  /** All images of the whole sequence. */
  readonly images: readonly PlacedImage[];
  readonly signal: AbortSignal;
  /** Called with every token that has entered the sequence for good. */
  readonly onForward: (tokens: Int32Array) => void;
  readonly drafts?: StepDrafts | undefined;
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
 * Every token is chosen from logits by the caller, one after the other, exactly as without drafts: a drafted token
 * only counts if the caller chose the same. Masks, stops, limits and log probabilities therefore know nothing of drafts.
 */
export class TokenSteps {
  /** Calls of the engine, the prompt's included. */
  engineCalls = 0;
  /** Tokens that were verified as part of a draft. */
  draftedTokens = 0;
  /** Of these, the ones that were chosen. */
  acceptedTokens = 0;
  readonly #input: TokenStepsInput;
  #verification: Verification | undefined;
  #last = Int32Array.of();

  constructor(input: TokenStepsInput) {
    this.#input = input;
  }

  /** Logits after the prompt, of which `tokens` are not in the sequence yet. */
  async prefill(tokens: Int32Array): Promise<Float32Array> {
    return await this.#forwardLast(tokens);
  }

  /**
   * The row given last once more, this time computed alone, where its logits are too near to each other to be decided
   * by a row that was computed among others; undefined where it decides.
   * @param row what `prefill` or `advance` gave, perhaps masked since
   */
  async decisive(row: Float32Array): Promise<Float32Array | undefined> {
    const verification = this.#verification;
    const { drafts, sequence } = this.#input;
    if (verification === undefined || drafts === undefined) return undefined;
    if (drafts.closeCallMargin === 0 || !isCloseCall(row, drafts.closeCallMargin)) return undefined;
    this.#verification = undefined;
    sequence.truncate(verification.start + verification.taken - 1);
    return await this.#forward(this.#last, 'last');
  }

  /** Tells which token the caller chose from the logits given last, unless it is one that ends the text. */
  choose(id: number): void {
    const { draft, taken } = this.#verification ?? { draft: [], taken: 0 };
    if (draft[taken] === id) this.acceptedTokens++;
    this.#input.drafts?.source.accept(id);
  }

  /**
   * Logits after the chosen token.
   * @param room tokens that may still be chosen, at least 1; no more are drafted than can be used
   */
  async advance(id: number, room: number): Promise<Float32Array> {
    const { drafts, signal, onForward, sequence } = this.#input;
    const token = Int32Array.of(id);
    const verification = this.#verification;
    if (verification !== undefined && verification.draft[verification.taken] === id) {
      verification.taken++;
      this.#last = token;
      onForward(token);
      // A turn of the event loop between tokens, as an engine call gives: readers read, and can abort.
      await nextTurn();
      signal.throwIfAborted();
      return rowOf(verification);
    }
    this.end();
    const draft = drafts?.source.propose(room - 1) ?? [];
    if (draft.length === 0) return await this.#forwardLast(token);
    const rows = await this.#forward(Int32Array.of(id, ...draft), 'all');
    this.draftedTokens += draft.length;
    this.#verification = { draft, rows, start: sequence.length - draft.length, taken: 0 };
    this.#entered(token);
    return rowOf(this.#verification);
  }

  /** Forgets drafted tokens that were not chosen. The sequence then holds what plain decoding would have left. */
  end(): void {
    if (this.#verification === undefined) return;
    this.#input.sequence.truncate(this.#verification.start + this.#verification.taken);
    this.#verification = undefined;
  }

  async #forwardLast(tokens: Int32Array): Promise<Float32Array> {
    const logits = await this.#forward(tokens, 'last');
    this.#entered(tokens);
    return logits;
  }

  #entered(tokens: Int32Array): void {
    this.#last = tokens.slice(-1);
    this.#input.onForward(tokens);
    this.#input.signal.throwIfAborted();
  }

  async #forward(tokens: Int32Array, logits: 'last' | 'all'): Promise<Float32Array> {
    const { sequence, images, signal, drafts } = this.#input;
    signal.throwIfAborted();
    const startedMs = performance.now();
    const result = await sequence.forward(tokens, { images, logits, signal });
    // The first call is the prompt's: its rows have one row of logits, and vision keys that are new to the caches.
    if (this.engineCalls > 0) drafts?.source.observe(tokens.length, performance.now() - startedMs);
    this.engineCalls++;
    return result.logits;
  }
}

function rowOf({ rows, draft, taken }: Verification): Float32Array {
  const columns = rows.length / (draft.length + 1);
  return rows.subarray(taken * columns, (taken + 1) * columns);
}
