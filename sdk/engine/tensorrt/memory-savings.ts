/** What would make a model smaller on a device, from its sizes alone. Pure. */
import type { ModelDescription } from '../../architecture/architecture.js';
import { packedForm } from '../../architecture/packed-form.js';
import { type ForecastOptions, forecastTensorRtMemory, type MemoryChanges } from './memory-forecast.js';

/** One way of needing less memory. */
export interface MemorySaving {
  readonly name: string;
  /** Alone, beside the forecast without changes. */
  readonly savedBytes: number;
  /** Least memory with this and all those before it in the list. */
  readonly leastBytes: number;
  /** How it is chosen; null: the `tensorrt` backend cannot do it. */
  readonly how: string | null;
}

interface Choice {
  readonly name: string;
  readonly changes: MemoryChanges;
  readonly how: string | null;
}

const HEAD = 'language_model.lm_head';

/** In the order in which one would take them: what can be had first, then by what is lost. */
const CHOICES: readonly Choice[] = [
  { name: 'lm_head in int4', changes: { lmHeadBits: 4 }, how: '`scenebus quantize --lm-head int4`' },
  { name: 'vision tower in int8', changes: { visionBits: 8 }, how: null },
  { name: 'one picture at a time', changes: { pictures: 1 }, how: null },
  { name: 'positions of tiles by row', changes: { tilePositionsByRow: true }, how: null },
  { name: 'pictures of at most two tiles', changes: { tiles: 2 }, how: null },
  { name: 'embeddings in int8', changes: { embeddingBits: 8 }, how: null },
];

/**
 * Each choice alone and together with those before it. Choices that change nothing for this model are left out.
 * A shorter context is the caller's: it is in `options`.
 */
export function forecastMemorySavings(
  model: ModelDescription,
  options: Omit<ForecastOptions, 'changes'>,
): MemorySaving[] {
  const least = (changes: MemoryChanges) => forecastTensorRtMemory(model, { ...options, changes }).leastBytes;
  const asItIs = least({});
  const savings: MemorySaving[] = [];
  let together: MemoryChanges = {};
  for (const { name, changes, how } of CHOICES) {
    if (changes.lmHeadBits === 4 && isInt4Head(model)) continue;
    const savedBytes = asItIs - least(changes);
    if (savedBytes <= 0) continue;
    together = { ...together, ...changes };
    savings.push({ name, savedBytes, leastBytes: least(together), how });
  }
  return savings;
}

function isInt4Head(model: ModelDescription): boolean {
  return model.tensors.has(`${HEAD}.weight_packed`) && packedForm(model, HEAD).bits === 4;
}
