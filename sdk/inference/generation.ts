/** The loop above the engine border: prefill, then one token after the other until something ends it. */
import { SdkError } from '../core/errors.js';
import type { PlacedImage, Sequence } from '../engine/engine.js';
import { createDetokenizer } from '../text/detokenizer.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { WrittenToken } from '../text/written-token.js';
import { StopStrings } from './stop-strings.js';
import { type StepDrafts, TokenSteps } from './token-steps.js';

/** `stop`: the model ended or a stop string came. `length`: maxNewTokens or the context ended first. */
export type FinishReason = 'stop' | 'length';

/** Chooses a token from logits `[vocabularySize]`, which it leaves as they are. */
export type Sampler = (logits: Float32Array) => number;

/** Restricts what may come next: a grammar, a schema. */
export interface TokenMask {
  /** Sets the logits of tokens that may not come now to -Infinity. */
  apply(logits: Float32Array): void;
  /** The token that was chosen. */
  accept(id: number): void;
}

export interface GenerationInput {
  readonly sequence: Sequence;
  /** Prompt tokens that are not in the sequence yet; at least one. */
  readonly tokens: Int32Array;
  /** All images of the whole sequence. */
  readonly images: readonly PlacedImage[];
  readonly tokenizer: Tokenizer;
  readonly sample: Sampler;
  readonly mask?: TokenMask | undefined;
  readonly stopIds: ReadonlySet<number>;
  readonly stopStrings: readonly string[];
  readonly maxNewTokens: number;
  readonly signal: AbortSignal;
  /** Called with text as it becomes certain. */
  readonly onText: (text: string) => void;
  /** Called with every token that has entered the sequence for good, the prompt's included. */
  readonly onForward: (tokens: Int32Array) => void;
  /** Guesses to verify several at once. Only for samplers that choose the likeliest token. */
  readonly drafts?: StepDrafts | undefined;
}

export interface GenerationOutput {
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly tokens: readonly WrittenToken[];
  /** The stop token included. */
  readonly generatedTokens: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
  /** Calls of the engine, the prompt's included. */
  readonly engineCalls: number;
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
}

/**
 * @throws signal.reason within one engine step of an abort
 * @throws SdkError ERR_ENGINE_FAILED for logits that are no numbers, and whatever the engine throws
 */
export async function runGeneration(input: GenerationInput): Promise<GenerationOutput> {
  const { tokenizer, mask } = input;
  const startedMs = performance.now();
  const detokenizer = createDetokenizer(tokenizer);
  const stopStrings = new StopStrings(input.stopStrings);
  const written: WrittenToken[] = [];
  let decodedCharacters = 0;
  let text = '';
  let generatedTokens = 0;
  let prefillMs = 0;

  const show = (piece: string) => {
    if (piece === '') return;
    text += piece;
    input.onText(piece);
  };
  const steps = new TokenSteps(input);
  const masked = (logits: Float32Array) => {
    if (mask === undefined) return logits;
    const allowed = logits.slice();
    mask.apply(allowed);
    return allowed;
  };
  /** Shows what was held back; 'stop' when its last characters complete a stop string. */
  const end = (): FinishReason | undefined => {
    const { text: rest, stopped } = stopStrings.push(detokenizer.flush());
    show(stopped ? rest : rest + stopStrings.flush());
    return stopped ? 'stop' : undefined;
  };
  const output = (finishReason: FinishReason): GenerationOutput => {
    const decodeMs = performance.now() - startedMs - prefillMs;
    const { engineCalls, draftedTokens, acceptedTokens } = steps;
    const counts = { generatedTokens, engineCalls, draftedTokens, acceptedTokens };
    return { text, finishReason, tokens: written, prefillMs, decodeMs, ...counts };
  };

  try {
    let logits = await steps.prefill(input.tokens);
    for (;;) {
      let allowed = masked(logits);
      const again = await steps.decisive(allowed);
      if (again !== undefined) {
        logits = again;
        allowed = masked(logits);
      }
      const normalizer = logSumExp(logits);
      const id = input.sample(allowed);
      mask?.accept(id);
      generatedTokens++;
      if (generatedTokens === 1) prefillMs = performance.now() - startedMs;
      if (input.stopIds.has(id)) return output(end() ?? 'stop');
      steps.choose(id);
      const piece = detokenizer.push(id);
      const start = decodedCharacters;
      decodedCharacters += piece.length;
      written.push({ start, end: decodedCharacters, logProbability: logits[id]! - normalizer });
      const { text: certain, stopped } = stopStrings.push(piece);
      show(certain);
      if (stopped) return output('stop');
      if (generatedTokens >= input.maxNewTokens) return output(end() ?? 'length');
      logits = await steps.advance(id, input.maxNewTokens - generatedTokens);
    }
  } finally {
    steps.end();
  }
}

/** Natural logarithm of the sum of exponentials. */
function logSumExp(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) if (logits[i]! > max) max = logits[i]!;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - max);
  const result = max + Math.log(sum);
  if (Number.isFinite(result)) return result;
  throw new SdkError(
    'ERR_ENGINE_FAILED',
    'Expected finite logits from the engine but received NaN or infinity. The weights may be damaged; try numerics or another backend, or copy the checkpoint again.',
  );
}
