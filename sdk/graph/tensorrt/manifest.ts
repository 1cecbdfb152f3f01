/**
 * What lies beside the graphs, so that nobody needs their names by heart: every input and output with its role, the
 * ranges of every size that changes, the engines to build, the files that hold weights. Plain JSON.
 */
import type {
  MllamaArchitecture,
  ModelDescription,
  TextArchitecture,
  VisionArchitecture,
} from '../../architecture/architecture.js';
import { visionGeometry, visionTokens } from '../../architecture/vision-tokens.js';
import type { Dimension, ElementType, ValueInfo } from '../onnx.js';
import { lowerCrossKeyValue, lowerDecoder } from './decoder.js';
import { checkEngineShapes } from './engine-shapes.js';
import { LOWERED_GRAPHS, type LoweredEngine, type LoweredGraphName, type ProfileRange } from './engines.js';
import type { Lowering } from './lowering.js';
import { LOWERING_VERSION, type LoweredType, type LoweringOptions } from './options.js';
import { ATTENTION_GROUPS, lowerVision } from './vision.js';
import { type LoweredWeight, LoweredWeights } from './weights.js';

/**
 * - host: written by the host before each run · states: cross-attention states, from vision to cross-kv
 * - cross: keys and values of images, from cross-kv to the decoder
 * - past, present: the K/V cache; a present may be the memory of its past
 * - logits: read by the host after each run · query: of a cross layer, read by the host when it wants attention weights
 * - weight: lies in device memory for as long as the engine does (plugin mode)
 * - trace: of instrumented graphs
 */
export type BindingRole = 'host' | 'states' | 'cross' | 'past' | 'present' | 'logits' | 'query' | 'weight' | 'trace';

export interface Binding {
  readonly name: string;
  readonly role: BindingRole;
  readonly type: ElementType;
  /** A number is fixed; a name is a size that an engine's profile bounds. */
  readonly shape: readonly Dimension[];
  /** Of caches, keys, values and queries. */
  readonly layer?: number;
  /** Of a present: the past that it continues. */
  readonly aliasOf?: string;
}

export interface LoweredGraph {
  readonly inputs: readonly Binding[];
  readonly outputs: readonly Binding[];
}

export interface LoweringManifest {
  readonly version: number;
  readonly capacity: number;
  readonly decoderType: LoweredType;
  readonly visionType: LoweredType;
  readonly text: TextArchitecture;
  readonly vision: VisionArchitecture;
  readonly graphs: Readonly<Record<LoweredGraphName, LoweredGraph>>;
  readonly engines: readonly LoweredEngine[];
  /** Inputs of graphs in plugin mode, and where their bytes lie. */
  readonly weights: readonly LoweredWeight[];
  /** External data in graphs is relative to this folder. */
  readonly weightsRoot: string;
  readonly convertedFile: { readonly file: string; readonly sizeBytes: number };
  readonly transposedFile: { readonly file: string; readonly sizeBytes: number };
}

export interface LoweredModelFiles {
  /** Serialised models, with functions; `toPluginMode` makes the other form. */
  readonly graphs: Readonly<Record<LoweredGraphName, Uint8Array>>;
  readonly manifest: LoweringManifest;
}

/**
 * All graphs of a model, and what they are. Reads no weights and needs none of the weight files: seconds for the 11B
 * model.
 *
 * @throws RangeError a tensor that is missing, TypeError one of a kind that does not fit
 * @throws ShapeError a graph whose shapes do not work out at the bounds of an engine, or at a shape that is asked for
 */
export function lowerModel(model: ModelDescription, options: LoweringOptions): LoweredModelFiles {
  const { architecture } = model;
  const weights = new LoweredWeights(model, options);
  const lowerings: Record<LoweredGraphName, Lowering> = {
    vision: lowerVision(model, options),
    'vision-grouped': lowerVision(model, options, ATTENTION_GROUPS),
    'cross-kv': lowerCrossKeyValue(model, options),
    decoder: lowerDecoder(model, { ...options, crossAttention: true }),
    'decoder-text': lowerDecoder(model, { ...options, crossAttention: false }),
    'decoder-queries': lowerDecoder(model, { ...options, crossAttention: true, crossQueries: true }),
  };
  const each = <T>(make: (lowering: Lowering) => T) =>
    Object.fromEntries(LOWERED_GRAPHS.map((name) => [name, make(lowerings[name])])) as Record<LoweredGraphName, T>;
  const fileOf = ({ file, sizeBytes }: { file: string; sizeBytes: number }) => ({ file, sizeBytes });
  // More tokens than the cache holds positions cannot be asked for.
  const fits = (tokens: number) => Math.min(tokens, options.capacity);
  const { maxPrefillTokens, maxDecodeTokens } = options;
  const limits = { ...options, maxPrefillTokens: fits(maxPrefillTokens), maxDecodeTokens: fits(maxDecodeTokens) };
  const planned = engines(architecture, limits);
  checkEngineShapes(
    architecture,
    limits,
    planned,
    each(({ shapes }) => shapes),
  );
  const manifest = {
    version: LOWERING_VERSION,
    capacity: options.capacity,
    decoderType: options.decoderType,
    visionType: options.visionType,
    text: architecture.text,
    vision: architecture.vision,
    graphs: each(({ b }) => ({ inputs: b.inputs.map(asInput), outputs: b.outputs.map(asOutput) })),
    engines: planned,
    weights: weights.pluginInputs(),
    weightsRoot: options.weightsRoot,
    convertedFile: fileOf(weights.converted),
    transposedFile: fileOf(weights.transposed),
  };
  return { manifest, graphs: each((lowering) => lowering.encode()) };
}

function asInput(info: ValueInfo): Binding {
  const layered = layerOf(info.name);
  if (layered !== undefined) return { ...info, role: info.name.startsWith('past_') ? 'past' : 'cross', ...layered };
  return { ...info, role: info.name === 'cross_attention_states' ? 'states' : 'host' };
}

function asOutput(info: ValueInfo): Binding {
  const { name } = info;
  const layered = layerOf(name);
  if (layered !== undefined) {
    if (name.startsWith('cross_query')) return { ...info, role: 'query', ...layered };
    if (!name.startsWith('present_')) return { ...info, role: 'cross', ...layered };
    return { ...info, role: 'present', ...layered, aliasOf: name.replace('present_', 'past_') };
  }
  if (name === 'cross_attention_states') return { ...info, role: 'states' };
  return { ...info, role: name === 'logits' ? 'logits' : 'trace' };
}

function layerOf(name: string): { readonly layer: number } | undefined {
  const found = /^(?:past|present|cross)_(?:key|value|query)\.(\d+)$/.exec(name);
  return found === null ? undefined : { layer: Number(found[1]) };
}

function engines({ vision }: MllamaArchitecture, options: LoweringOptions): LoweredEngine[] {
  const { tokensPerTile } = visionGeometry(vision);
  const { maxNumTiles } = vision;
  const allKeys = maxNumTiles * tokensPerTile;
  const between = (min: number, opt: number, max: number): ProfileRange => ({ min, opt, max });
  // Instrumented graphs show the states of all slots, whatever the image.
  const imageKeys = between(options.instrument ? allKeys : tokensPerTile, allKeys, allKeys);
  /** From one used tile to all of them; usual: all. Every size for itself: no two of them need agree in the graph. */
  const visionProfile = (merged: boolean, leastPadding: number) => {
    const images = Array.from({ length: maxNumTiles }, (_, unused) =>
      visionTokens(vision, { numTiles: maxNumTiles - unused, merged, allSlots: false }),
    );
    const padding = images.map(({ tokenPlaces, realTokens }) => tokenPlaces.length - realTokens);
    return {
      slots: between(Math.min(2, maxNumTiles), maxNumTiles, maxNumTiles),
      Q: between(tokensPerTile, allKeys, allKeys),
      P: between(leastPadding, padding[0]!, Math.max(...padding)),
      F: between(tokensPerTile, allKeys, allKeys),
      K: imageKeys,
    };
  };
  const steps = {
    prefill: {
      R: between(1, options.maxPrefillTokens, options.maxPrefillTokens),
      L: between(1, 1, options.maxDecodeTokens),
    },
    decode: { R: between(1, 1, options.maxDecodeTokens), L: between(1, 1, options.maxDecodeTokens) },
  };
  // One key is what tokens that see no image compute with.
  const K = between(1, allKeys, allKeys * options.maxImages);
  const decoders = (['prefill', 'decode'] as const).flatMap((name): LoweredEngine[] => [
    { name, graph: 'decoder', profile: { ...steps[name], K } },
    { name: `${name}-text`, graph: 'decoder-text', profile: steps[name] },
    { name: `${name}-queries`, graph: 'decoder-queries', profile: { ...steps[name], K } },
  ]);
  return [
    { name: 'vision', graph: 'vision', profile: visionProfile(true, maxNumTiles) },
    // Where nothing, or not everything, may be merged: more padding, and so more scratch.
    { name: 'vision-full', graph: 'vision', profile: visionProfile(false, maxNumTiles) },
    { name: 'vision-grouped', graph: 'vision-grouped', profile: visionProfile(true, maxNumTiles) },
    { name: 'vision-full-grouped', graph: 'vision-grouped', profile: visionProfile(false, maxNumTiles) },
    { name: 'cross-kv', graph: 'cross-kv', profile: { K: imageKeys } },
    ...decoders,
  ];
}
