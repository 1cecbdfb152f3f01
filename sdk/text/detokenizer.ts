import type { Tokenizer } from './tokenizer.js';

/** Turns a stream of ids into text. Never emits half a character. */
export interface Detokenizer {
  /** Text that became whole with this token; empty while a character is incomplete and for special tokens. */
  push(id: number): string;
  /** What is left at the end: U+FFFD when the model stopped inside a character. The detokenizer is new afterwards. */
  flush(): string;
}

/**
 * @example
 * const detokenizer = createDetokenizer(tokenizer);
 * for (const id of ids) process.stdout.write(detokenizer.push(id));
 * process.stdout.write(detokenizer.flush());
 */
export function createDetokenizer(tokenizer: Pick<Tokenizer, 'bytesOf'>): Detokenizer {
  // ignoreBOM keeps a leading U+FEFF: it is text here, not a file's mark.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return {
    push: (id) => decoder.decode(tokenizer.bytesOf(id), { stream: true }),
    flush: () => decoder.decode(),
  };
}
