/** Text as a model writes it, token by token: whole characters only, cut before the first stop string. */
import { createDetokenizer } from '../text/detokenizer.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { WrittenToken } from '../text/written-token.js';
import type { LikelyToken } from './likeliest-tokens.js';
import { StopStrings } from './stop-strings.js';

/** A token, and what the model found of it. */
export interface ChosenToken extends LikelyToken {
  /** Of all in its place, the likeliest first; empty where nobody wants to know. */
  readonly likeliest: readonly LikelyToken[];
}

/** A token and where it wrote. */
export type GeneratedToken = WrittenToken & ChosenToken;

/** `text` holds what is certain; `tokens` where each token wrote, in characters. */
export class WrittenText {
  readonly tokens: GeneratedToken[] = [];
  text = '';
  readonly #detokenizer: ReturnType<typeof createDetokenizer>;
  readonly #stopStrings: StopStrings;
  readonly #onText: (text: string) => void;
  #decodedCharacters = 0;

  /** @param onText called with text as it becomes certain */
  constructor(tokenizer: Tokenizer, stopStrings: readonly string[], onText: (text: string) => void) {
    this.#detokenizer = createDetokenizer(tokenizer);
    this.#stopStrings = new StopStrings(stopStrings);
    this.#onText = onText;
  }

  /** Whether a stop string came: nothing may follow. */
  push(token: ChosenToken): boolean {
    const piece = this.#detokenizer.push(token.id);
    const start = this.#decodedCharacters;
    this.#decodedCharacters += piece.length;
    this.tokens.push({ ...token, start, end: this.#decodedCharacters });
    const { text, stopped } = this.#stopStrings.push(piece);
    this.#show(text);
    return stopped;
  }

  /** Shows what was held back; 'stop' when its last characters complete a stop string. */
  end(): 'stop' | undefined {
    const { text, stopped } = this.#stopStrings.push(this.#detokenizer.flush());
    this.#show(stopped ? text : text + this.#stopStrings.flush());
    return stopped ? 'stop' : undefined;
  }

  #show(piece: string): void {
    if (piece === '') return;
    this.text += piece;
    this.#onText(piece);
  }
}
