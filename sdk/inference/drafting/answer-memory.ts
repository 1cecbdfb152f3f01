import { createHash } from 'node:crypto';

const MAX_PROMPTS = 32;
/** Two cameras or more may ask with one prompt. */
const MAX_ANSWERS_PER_PROMPT = 4;
const MAX_TOKENS_PER_ANSWER = 2048;

/** The last answers to each of the prompts asked last: at most 32 × 4 × 2048 token ids, 2 MB. */
export class AnswerMemory {
  readonly #answers = new Map<string, readonly (readonly number[])[]>(); // in order of use, oldest first

  /** Answers to exactly these prompt tokens (whatever the pictures were), newest first. */
  recall(prompt: Int32Array): readonly (readonly number[])[] {
    return this.#answers.get(keyOf(prompt)) ?? [];
  }

  remember(prompt: Int32Array, answer: readonly number[]): void {
    if (answer.length === 0) return;
    const key = keyOf(prompt);
    const kept = answer.slice(0, MAX_TOKENS_PER_ANSWER);
    const others = (this.#answers.get(key) ?? []).filter((other) => !sameTokens(other, kept));
    this.#answers.delete(key);
    this.#answers.set(key, [kept, ...others].slice(0, MAX_ANSWERS_PER_PROMPT));
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size <= MAX_PROMPTS) break;
      this.#answers.delete(oldest);
    }
  }
}

function keyOf(prompt: Int32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(prompt.buffer, prompt.byteOffset, prompt.byteLength))
    .digest('base64');
}

function sameTokens(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}
