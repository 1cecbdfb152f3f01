/** Whether the shapes of every graph work out wherever its engines may be asked to go. */
import type { MllamaArchitecture } from '../../architecture/architecture.js';
import { visionGeometry, visionTokens } from '../../architecture/vision-tokens.js';
import { checkShapes, type ShapedGraph, ShapeError, type Sizes } from '../shape-check.js';
import type { LoweredEngine, LoweredGraphName } from './engines.js';
import type { LoweringOptions } from './options.js';
import { loweredVisionTokens } from './vision.js';

/**
 * At the least, usual and largest of every profile, and at all shapes that are asked for at run time.
 * @throws ShapeError with the engine, the sizes, the node and its shapes
 */
export function checkEngineShapes(
  architecture: MllamaArchitecture,
  options: LoweringOptions,
  engines: readonly LoweredEngine[],
  graphs: Readonly<Record<LoweredGraphName, ShapedGraph>>,
): void {
  for (const engine of engines) {
    const { name, graph, profile } = engine;
    const bounds = (['min', 'opt', 'max'] as const).map((bound): [string, Sizes] => [
      `the ${bound} of its profile`,
      Object.fromEntries(Object.entries(profile).map(([size, range]) => [size, range[bound]])),
    ]);
    const asked = askedSizes(architecture, options, engine).map((sizes): [string, Sizes] => [
      'what is asked for',
      sizes,
    ]);
    for (const [, sizes] of asked) requireWithin(engine, sizes);
    for (const [what, sizes] of [...bounds, ...asked]) {
      try {
        checkShapes(graphs[graph], sizes);
      } catch (error) {
        if (!(error instanceof ShapeError)) throw error;
        throw new ShapeError(error.node, `${error.problem} (engine ${name} at ${what}: ${described(sizes)})`);
      }
    }
  }
}

/**
 * Sizes with which an engine is run. Of the tokens of a step and the keys that they look at, any number up to the most:
 * shapes are linear in both and in each other's presence, so the ends stand for all.
 */
export function askedSizes(
  { vision }: Pick<MllamaArchitecture, 'vision'>,
  options: Pick<LoweringOptions, 'maxPrefillTokens' | 'maxDecodeTokens' | 'maxImages' | 'instrument'>,
  { name }: Pick<LoweredEngine, 'name'>,
): Sizes[] {
  const { tokensPerTile } = visionGeometry(vision);
  const tiles = Array.from({ length: vision.maxNumTiles }, (_, i) => i + 1);
  if (name.startsWith('vision')) {
    const slots = options.instrument ? [true] : [false, true];
    const forms = name.startsWith('vision-full') ? [true, false] : [true];
    const requests = tiles.flatMap((numTiles) =>
      forms.flatMap((merged) => slots.map((allSlots) => ({ numTiles, merged, allSlots }))),
    );
    return requests.map((request) => {
      const tokens = visionTokens(vision, request);
      const { real_rows, padding_rows, feature_rows, state_rows } = loweredVisionTokens(tokens).lists;
      const [Q, P, F, K] = [real_rows, padding_rows, feature_rows, state_rows].map(({ length }) => length);
      return { slots: tokens.slots, Q: Q!, P: P!, F: F!, K: K! };
    });
  }
  if (name === 'cross-kv') {
    return options.instrument
      ? [{ K: vision.maxNumTiles * tokensPerTile }]
      : tiles.map((count) => ({ K: count * tokensPerTile }));
  }
  const { maxPrefillTokens, maxDecodeTokens, maxImages } = options;
  const most = name.startsWith('decode') ? maxDecodeTokens : maxPrefillTokens;
  const steps = [...new Set([1, most])];
  const keys = name.endsWith('-text')
    ? [undefined]
    : [1, tokensPerTile, vision.maxNumTiles * maxImages * tokensPerTile];
  return steps.flatMap((R) =>
    keys.flatMap((K) =>
      [...new Set([1, Math.min(R, maxDecodeTokens)])].map((L) => (K === undefined ? { R, L } : { R, L, K })),
    ),
  );
}

function requireWithin({ name, profile }: LoweredEngine, sizes: Sizes): void {
  for (const [size, value] of Object.entries(sizes)) {
    const range = profile[size];
    if (range === undefined || value < range.min || value > range.max) {
      const bounds = range === undefined ? 'nothing' : `${range.min} to ${range.max}`;
      throw new ShapeError(name, `${size} of ${value} will be asked for, but the profile allows ${bounds}`);
    }
  }
}

function described(sizes: Sizes): string {
  return Object.entries(sizes)
    .map(([size, value]) => `${size} ${value}`)
    .join(', ');
}
