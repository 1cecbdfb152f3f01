/** One generation by itself: every wish is a step of its own, at once. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Generation, type GenerationInput, type GenerationOutput } from '#sdk/inference/generation.js';

export type RunInput = GenerationInput & { readonly signal?: AbortSignal | undefined };

export async function runGeneration({ signal, ...input }: RunInput): Promise<GenerationOutput> {
  const generation = new Generation(input);
  try {
    while (generation.output === undefined) {
      signal?.throwIfAborted();
      const { wanted, images, sequence } = generation;
      if (wanted === undefined) {
        await nextTurn();
        signal?.throwIfAborted();
        generation.advance();
        continue;
      }
      const startedMs = performance.now();
      const result = await sequence.forward(wanted.tokens, { images, logits: wanted.logits, signal });
      generation.accept(wanted, result, performance.now() - startedMs);
    }
    return generation.output;
  } finally {
    generation.end();
  }
}
