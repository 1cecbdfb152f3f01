/** The whole model in a process of its own, so that its memory can be read off. See whole-model.ts. */
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Engine, PlacedImage, Sequence } from '#sdk/engine/engine.js';
import { openCpuEngine } from '#sdk/engine/index.js';
import { syntheticImage } from '../support/tiny-images.js';
import { type Memory, memoryOf } from './memory.js';

/** Every request is answered with `WholeAnswer`. */
export type WholeRequest =
  | {
      readonly kind: 'open';
      readonly directory: string;
      readonly threads: number;
      readonly cacheDirectory: string;
      readonly contextLength: number;
    }
  | { readonly kind: 'encode' }
  /** Tokens `context …` behind the first `context`, the first of which stands for the image. */
  | { readonly kind: 'forward'; readonly context: number; readonly tokens: number }
  | { readonly kind: 'memory' };

export interface WholeAnswer {
  readonly ms: number;
  readonly memory?: Memory;
}

let engine: Engine | undefined;
let images: readonly PlacedImage[] = [];
let sequence: Sequence | undefined;
let imageTokenId = 0;

async function work(request: WholeRequest): Promise<void> {
  if (request.kind === 'open') {
    const checkpoint = await openCheckpoint(request.directory);
    imageTokenId = checkpoint.model.architecture.imageTokenId;
    const { threads, cacheDirectory, contextLength } = request;
    engine = await openCpuEngine(checkpoint, { threads, cacheDirectory, contextLength });
    sequence = engine.createSequence();
  } else if (request.kind === 'encode') {
    const image = await engine!.encodeImage(syntheticImage({ aspectRatioId: 1, numTiles: 1 }, 1, 560, 4));
    images[0]?.image[Symbol.dispose]();
    images = [{ image, tokenIndex: 0 }];
  } else if (request.kind === 'forward') {
    await forward(request.context, request.tokens);
  }
}

async function forward(context: number, count: number): Promise<void> {
  sequence!.truncate(Math.min(context, sequence!.length));
  const from = sequence!.length;
  const ids = Int32Array.from({ length: context + count - from }, (_, i) => {
    return from + i === 0 ? imageTokenId : ((from + i) * 7919 + 17) % 128_000;
  });
  await sequence!.forward(ids, { images, logits: count > 1 ? 'all' : 'last' });
}

process.on('message', async (request: WholeRequest) => {
  const start = performance.now();
  try {
    await work(request);
    const ms = performance.now() - start;
    process.send?.({ ms, memory: memoryOf(process.pid) });
  } catch (error) {
    process.send?.({ error: error instanceof Error ? error.message : String(error) });
  }
});
process.on('disconnect', () => process.exit());
