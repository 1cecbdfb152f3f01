/**
 * What lies beside the graphs, so that nobody needs their names by heart: every input and output with its role, the
 * ranges of every size that changes, the engines to build, the files that hold weights. Plain JSON.
 */
import type { MllamaArchitecture, ModelDescription, TextArchitecture, VisionArchitecture } from '../architecture.js';
import { selfAttentionLayers } from '../decoder-layers.js';
import type { Dimension, ElementType } from '../onnx.js';
import { visionGeometry, visionRows } from '../vision-rows.js';
import { LOWERING_VERSION, type LoweredType, type LoweringOptions } from './options.js';
import { type LoweredWeight, LoweredWeights } from './weights.js';

export const LOWERED_GRAPHS = ['vision', 'cross-kv', 'decoder', 'decoder-text'] as const;
export type LoweredGraphName = (typeof LOWERED_GRAPHS)[number];

/**
 * - host: written by the host before each run · states: cross-attention states, from vision to cross-kv
 * - cross: keys and values of images, from cross-kv to the decoder
 * - past, present: the K/V cache; a present may be the memory of its past
 * - logits: read by the host after each run
 * - weight: lies in device memory for as long as the engine does (plugin mode)
 * - trace: of instrumented graphs
 */
export type BindingRole = 'host' | 'states' | 'cross' | 'past' | 'present' | 'logits' | 'weight' | 'trace';

export interface Binding {
  readonly name: string;
  readonly role: BindingRole;
  readonly type: ElementType;
  /** A number is fixed; a name is a size that an engine's profile bounds. */
  readonly shape: readonly Dimension[];
  /** Of caches, keys and values. */
  readonly layer?: number;
  /** Of a present: the past that it continues. */
  readonly aliasOf?: string;
}

export interface ProfileRange {
  readonly min: number;
  readonly opt: number;
  readonly max: number;
}

export interface LoweredEngine {
  readonly name: 'vision' | 'cross-kv' | 'prefill' | 'decode' | 'prefill-text' | 'decode-text';
  readonly graph: LoweredGraphName;
  readonly profile: Readonly<Record<string, ProfileRange>>;
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

/** Of graphs with and without plugins: `weight` bindings are listed in `weights`, not among a graph's inputs. */
export function loweringManifest(model: ModelDescription, options: LoweringOptions): LoweringManifest {
  const { architecture } = model;
  const weights = new LoweredWeights(model, options);
  const fileOf = ({ file, sizeBytes }: { file: string; sizeBytes: number }) => ({ file, sizeBytes });
  return {
    version: LOWERING_VERSION,
    capacity: options.capacity,
    decoderType: options.decoderType,
    visionType: options.visionType,
    text: architecture.text,
    vision: architecture.vision,
    graphs: {
      vision: visionBindings(architecture, options),
      'cross-kv': crossKeyValueBindings(architecture.text, options),
      decoder: decoderBindings(architecture.text, options, true),
      'decoder-text': decoderBindings(architecture.text, options, false),
    },
    engines: engines(architecture, options),
    weights: weights.pluginInputs(),
    weightsRoot: options.weightsRoot,
    convertedFile: fileOf(weights.converted),
    transposedFile: fileOf(weights.transposed),
  };
}

function host(name: string, type: ElementType, shape: readonly Dimension[]): Binding {
  return { name, role: 'host', type, shape };
}

function visionBindings(architecture: MllamaArchitecture, options: LoweringOptions): LoweredGraph {
  const { tileSize, maxNumTiles } = architecture.vision;
  const list = (name: string, size: string) => host(name, 'int64', [size]);
  const inputs = [
    host('pixel_values', 'float32', ['slots', 3, tileSize, tileSize]),
    host('aspect_ratio_id', 'int64', [1]),
    list('row_tokens', 'R'),
    list('row_slots', 'R'),
    list('state_rows', 'K'),
    list('real_rows', 'Q'),
    list('padding_rows', 'P'),
    list('feature_rows', 'F'),
    host('key_bias', 'float32', ['R']),
  ];
  if (options.instrument) {
    inputs.push(
      host('full_sequence', 'int64', [maxNumTiles * visionGeometry(architecture.vision).paddedTokensPerTile]),
    );
  }
  return { inputs, outputs: [states(architecture.text, options)] };
}

function states(text: TextArchitecture, options: LoweringOptions): Binding {
  return { name: 'cross_attention_states', role: 'states', type: options.decoderType, shape: ['K', text.hiddenSize] };
}

function crossBindings(text: TextArchitecture, options: LoweringOptions): Binding[] {
  const shape = [1, text.keyValueHeads, 'K', text.headDim];
  return text.crossAttentionLayers.flatMap((layer) =>
    ['cross_key', 'cross_value'].map(
      (name): Binding => ({ name: `${name}.${layer}`, role: 'cross', type: options.decoderType, shape, layer }),
    ),
  );
}

function crossKeyValueBindings(text: TextArchitecture, options: LoweringOptions): LoweredGraph {
  return { inputs: [states(text, options)], outputs: crossBindings(text, options) };
}

function decoderBindings(text: TextArchitecture, options: LoweringOptions, crossAttention: boolean): LoweredGraph {
  const cache = [1, text.keyValueHeads, options.capacity, text.headDim];
  const caches = selfAttentionLayers(text).flatMap((layer) => ['key', 'value'].map((name) => ({ layer, name })));
  const common = { type: options.decoderType, shape: cache } as const;
  const past = caches.map(
    ({ layer, name }): Binding => ({ name: `past_${name}.${layer}`, role: 'past', ...common, layer }),
  );
  const present = caches.map(({ layer, name }): Binding => {
    return { name: `present_${name}.${layer}`, role: 'present', ...common, layer, aliasOf: `past_${name}.${layer}` };
  });
  const cross = [
    host('cross_attention_bias', 'float32', [1, 1, 'R', 'K']),
    host('cross_attention_rows', 'float32', [1, 'R', 1]),
    host('cross_mlp_rows', 'float32', [1, 'R', 1]),
    ...crossBindings(text, options),
  ];
  const inputs = [
    host('inputs_embeds', 'float32', [1, 'R', text.hiddenSize]),
    host('past_length', 'int32', [1]),
    host('logits_rows', 'int64', ['L']),
    ...(crossAttention ? cross : []),
    ...past,
  ];
  const logits: Binding = { name: 'logits', role: 'logits', type: 'float32', shape: ['L', text.vocabularySize] };
  return { inputs, outputs: [logits, ...present] };
}

function engines({ vision }: MllamaArchitecture, options: LoweringOptions): LoweredEngine[] {
  const { tokensPerTile, paddedTokensPerTile } = visionGeometry(vision);
  const { maxNumTiles } = vision;
  // From one tile with its copies merged to all slots with none.
  const least = visionRows(vision, { numTiles: 1, merged: true, allSlots: false });
  const usual = visionRows(vision, { numTiles: maxNumTiles, merged: true, allSlots: false });
  const allKeys = maxNumTiles * tokensPerTile;
  const between = (min: number, opt: number, max: number): ProfileRange => ({ min, opt, max });
  const imageKeys = between(tokensPerTile, allKeys, allKeys);
  const visionProfile = {
    slots: between(least.slots, maxNumTiles, maxNumTiles),
    R: between(least.tokens.length, usual.tokens.length, maxNumTiles * paddedTokensPerTile),
    Q: between(least.realRows, usual.realRows, allKeys),
    // Of one tile in full, all other slots look as padding does.
    P: between(1, maxNumTiles, maxNumTiles * paddedTokensPerTile - tokensPerTile),
    F: between(tokensPerTile, allKeys, allKeys),
    K: imageKeys,
  };
  const rows = {
    prefill: { R: between(1, options.maxPrefillRows, options.maxPrefillRows), L: between(1, 1, options.maxDecodeRows) },
    decode: { R: between(1, 1, options.maxDecodeRows), L: between(1, 1, options.maxDecodeRows) },
  };
  // One key is what rows that see no image compute with.
  const K = between(1, allKeys, allKeys * options.maxImages);
  const decoders = (['prefill', 'decode'] as const).flatMap((name): LoweredEngine[] => [
    { name, graph: 'decoder', profile: { ...rows[name], K } },
    { name: `${name}-text`, graph: 'decoder-text', profile: rows[name] },
  ]);
  return [
    { name: 'vision', graph: 'vision', profile: visionProfile },
    { name: 'cross-kv', graph: 'cross-kv', profile: { K: imageKeys } },
    ...decoders,
  ];
}
