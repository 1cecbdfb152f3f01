/** A decoder of a published shape with few layers, in a process of its own, so that its memory can be read off. See context.ts. */
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { type ContenderOptions, openOwn } from './contenders.js';
import { type Memory, memoryOf } from './memory.js';
import { randomModel } from './random-model.js';
import type { ShapeName } from './shapes.js';

export interface ContextRequest extends ContenderOptions {
  readonly directory: string;
  readonly shape: ShapeName;
  readonly layers: number;
  readonly groupSize: number;
  /** Prompt, in slices of so many as the scheduler gives. */
  readonly tokens: number;
  readonly sliceTokens: number;
}

export interface ContextAnswer {
  readonly opened: Memory;
  readonly prefilled: Memory;
  readonly prefillMs: number;
}

async function prefill({ tokens, sliceTokens, ...request }: ContextRequest): Promise<ContextAnswer> {
  const { directory, shape, groupSize, layers } = request;
  const model: ModelDescription = await randomModel(directory, shape, groupSize, layers);
  const decoder = await openOwn(model, request);
  // Buffers for a slice, and the pages of the weights.
  await decoder.forward(0, new Int32Array(sliceTokens), 'last');
  const opened = memoryOf(process.pid);
  const startedMs = performance.now();
  for (let done = 0; done < tokens; done += sliceTokens) {
    const count = Math.min(sliceTokens, tokens - done);
    const slice = Int32Array.from({ length: count }, (_, i) => ((done + i) * 7919 + 17) % 128_000);
    await decoder.forward(done, slice, 'last');
  }
  const prefillMs = performance.now() - startedMs;
  return { opened, prefilled: memoryOf(process.pid), prefillMs };
}

process.on('message', async (request: ContextRequest) => {
  try {
    process.send?.(await prefill(request));
  } catch (error) {
    process.send?.({ error: error instanceof Error ? error.message : String(error) });
  }
});
process.on('disconnect', () => process.exit());
