/**
 * Vision tower and projector as they are for every runtime: pixels of one image to the tokens that
 * cross-attention looks at. How each piece becomes operators is a lowering's affair.
 *
 * Which tokens there are is said at run time (`visionTokens`): one graph, and one copy of the weights, for any number of
 * tiles, in full or with copies merged.
 */
import type { VisionArchitecture } from '../architecture/architecture.js';
import { visionGeometry } from '../architecture/vision-tokens.js';
import type { GraphBuilder, Value } from './builder.js';

const PREFIX = 'vision_model';

export interface VisionLowering {
  readonly b: GraphBuilder;
  readonly vision: VisionArchitecture;
  /** A weight, one row `[1, columns]` of a table, tanh of a gate: in the type in which tokens are added. */
  float(name: string): Value;
  row(name: string, index: Value): Value;
  gate(name: string): Value;
  zeros(shape: readonly number[]): Value;
  /** `x [tokens, in]` times the weight `[out, in]` of `name`, plus its bias if there is one. */
  linear(x: Value, name: string, bias?: boolean): Value;
  layerNorm(x: Value, name: string): Value;
  /** The exact one, by erf. */
  gelu(x: Value): Value;
  add(x: Value, y: Value): Value;
  mul(x: Value, y: Value): Value;
  /** Products with each patch of the pixels, row-major: `[slots, P - 1, hidden]`. */
  patches(pixels: Value, weight: string): Value;
  /**
   * `project` gives one projection of the tokens, `[R, hidden]`; so is the result. Real queries look at all keys, each
   * as often as tokens it stands for; the others look at the real keys.
   */
  attention(project: (name: 'q' | 'k' | 'v') => Value): Value;
  /** The tokens that become features, as the projector takes them. */
  featureTokens(x: Value): Value;
}

export interface VisionInputs {
  /** `[slots, 3, S, S]`. */
  readonly pixels: Value;
  /** int64 `[1]`. */
  readonly aspectRatioId: Value;
  /** int64 `[R]`, `[R]`, `[K]`: as in `VisionTokens`. */
  readonly tokenPlaces: Value;
  readonly tokenSlots: Value;
  readonly stateTokens: Value;
}

/** Gives tokens `[R, hidden]` a name, for comparison; `where`: which of them, in which shape. */
export type VisionTrace = (name: string, value: () => Value, where: 'states' | 'full' | 'full by tile') => void;

/** Layers `first … end - 1` of the local stack with the global one behind it. */
export interface VisionRange {
  readonly first: number;
  readonly end: number;
}

/** The whole tower in ranges whose layers have at most `weightBytes` in float32, or one layer. */
export function visionRanges(vision: VisionArchitecture, weightBytes: number): readonly VisionRange[] {
  const { hiddenSize, intermediateSize, localLayers, globalLayers } = vision;
  const layerBytes = (4 * hiddenSize ** 2 + 2 * hiddenSize * intermediateSize) * 4;
  const count = Math.max(1, Math.floor(weightBytes / layerBytes));
  const total = localLayers + globalLayers;
  return Array.from({ length: Math.ceil(total / count) }, (_, i) => ({
    first: i * count,
    end: Math.min(total, (i + 1) * count),
  }));
}

/** Between two layers. */
export interface VisionState {
  /** `[R, hidden]`. */
  readonly x: Value;
  /** States that become features, by their place in `intermediateLayersIndices`, as far as they are known. */
  readonly tapped: ReadonlyMap<number, Value>;
}

type Taps = 'inputs' | 'outputs';

/** `[K, textHidden]`. */
export function visionLayers(
  l: VisionLowering,
  inputs: VisionInputs,
  taps: Taps,
  trace: VisionTrace,
  traceFeatures: (features: Value) => void,
): Value {
  const { localLayers, globalLayers } = l.vision;
  const embedded = visionEmbedding(l, inputs, taps, trace);
  const all = { first: 0, end: localLayers + globalLayers };
  return visionFeatures(l, visionRange(l, embedded, all, inputs, taps, trace), inputs, traceFeatures);
}

/** Before the first layer. */
export function visionEmbedding(
  l: VisionLowering,
  inputs: Pick<VisionInputs, 'pixels' | 'aspectRatioId' | 'tokenPlaces'>,
  taps: Taps,
  trace: VisionTrace,
): VisionState {
  const { b } = l;
  const { hiddenSize: hidden } = l.vision;
  const embedded = b.reshape(embed(l, inputs.pixels, inputs.aspectRatioId), [-1, hidden]);
  const x = b.gather(b.concat([embedded, l.zeros([1, hidden])], 0), inputs.tokenPlaces);
  trace('after_layernorm_pre', () => x, 'states');
  return { x, tapped: tap(l, new Map(), x, 0, taps) };
}

export function visionRange(
  l: VisionLowering,
  state: VisionState,
  range: VisionRange,
  inputs: Pick<VisionInputs, 'aspectRatioId' | 'tokenSlots'>,
  taps: Taps,
  trace: VisionTrace,
): VisionState {
  const { b } = l;
  const { localLayers, hiddenSize: hidden } = l.vision;
  let { x, tapped } = state;
  for (let layer = range.first; layer < range.end; layer++) {
    const index = layer - localLayers;
    if (index < 0) {
      x = block(l, x, `${PREFIX}.transformer.layers.${layer}`, false);
      tapped = tap(l, tapped, x, layer + 1, taps);
      trace(`after_local_layer_${layer}`, () => x, 'full');
    } else {
      x = block(l, x, `${PREFIX}.global_transformer.layers.${index}`, true);
      trace(`after_global_layer_${index}`, () => x, 'full');
    }
    if (layer !== localLayers - 1) continue;
    x = l.layerNorm(x, `${PREFIX}.layernorm_post`);
    const tileVectors = b.reshape(tileEmbedding(l, 'post_tile_positional_embedding', inputs.aspectRatioId), [
      -1,
      hidden,
    ]);
    x = l.add(x, b.gather(tileVectors, inputs.tokenSlots));
    trace('after_post_tile_embedding', () => x, 'full by tile');
  }
  return { x, tapped };
}

/** Behind the last layer: `[K, textHidden]`. */
export function visionFeatures(
  l: VisionLowering,
  { x, tapped }: VisionState,
  { stateTokens }: Pick<VisionInputs, 'stateTokens'>,
  traceFeatures: (features: Value) => void,
): Value {
  const inOrder = l.vision.intermediateLayersIndices.map((_, index) => tapped.get(index)!);
  const features = interleave(l, x, inOrder);
  traceFeatures(features);
  return l.b.gather(l.linear(features, 'multi_modal_projector', true), stateTokens);
}

/** `x`, behind so many local layers, is the input of one layer and the output of another. */
function tap(
  { vision }: VisionLowering,
  tapped: VisionState['tapped'],
  x: Value,
  layers: number,
  taps: Taps,
): VisionState['tapped'] {
  const wanted = taps === 'inputs' ? layers : layers - 1;
  const found = vision.intermediateLayersIndices.flatMap((layer, index) =>
    layer === wanted ? [[index, x] as const] : [],
  );
  return found.length === 0 ? tapped : new Map([...tapped, ...found]);
}

/** Patches, tile and position embeddings, class token, first norm: `[slots, P, hidden]`. */
function embed(l: VisionLowering, pixels: Value, aspectRatioId: Value): Value {
  const { b } = l;
  const { maxNumTiles: tiles, hiddenSize: hidden } = l.vision;
  const { tokensPerTile } = visionGeometry(l.vision);
  const slots = b.dimension(pixels, 0);
  const ofSlots = (perTile: Value) => b.slice(perTile, b.ints([0]), slots, 0);
  let x = l.patches(pixels, `${PREFIX}.patch_embedding.weight`);
  x = l.add(x, ofSlots(tileEmbedding(l, 'pre_tile_positional_embedding', aspectRatioId)));

  const classToken = l.float(`${PREFIX}.class_embedding`);
  const classTokens = b.node('Expand', [classToken, b.concat([slots, b.ints([1, hidden])], 0)]);
  x = b.concat([classTokens, x], 1);

  const positions = `${PREFIX}.gated_positional_embedding`;
  const gate = l.gate(`${positions}.gate`);
  const position = l.mul(l.float(`${positions}.embedding`), b.node('Sub', [b.scalar(1), gate]));
  x = l.add(x, position);
  const tilePositions = l.row(`${positions}.tile_embedding.weight`, aspectRatioId);
  x = l.add(x, l.mul(ofSlots(b.reshape(tilePositions, [tiles, tokensPerTile, hidden])), gate));
  return l.layerNorm(x, `${PREFIX}.layernorm_pre`);
}

/** tanh(gate) × the tile vectors of the arrangement: `[T, 1, hidden]`. */
function tileEmbedding(l: VisionLowering, name: string, aspectRatioId: Value): Value {
  const row = l.row(`${PREFIX}.${name}.embedding.weight`, aspectRatioId);
  const vectors = l.b.reshape(row, [l.vision.maxNumTiles, 1, l.vision.hiddenSize]);
  return l.mul(vectors, l.gate(`${PREFIX}.${name}.gate`));
}

/** One pre-norm layer, with gates in the global stack. */
function block(l: VisionLowering, x: Value, prefix: string, gated: boolean): Value {
  return l.b.within(prefix, () => {
    const normed = l.layerNorm(x, `${prefix}.input_layernorm`);
    const attended = l.attention((name) => l.linear(normed, `${prefix}.self_attn.${name}_proj`));
    let attention = l.linear(attended, `${prefix}.self_attn.o_proj`);
    if (gated) attention = l.mul(attention, l.gate(`${prefix}.gate_attn`));
    const h = l.add(x, attention);

    const again = l.layerNorm(h, `${prefix}.post_attention_layernorm`);
    let mlp = l.linear(l.gelu(l.linear(again, `${prefix}.mlp.fc1`, true)), `${prefix}.mlp.fc2`, true);
    if (gated) mlp = l.mul(mlp, l.gate(`${prefix}.gate_ffn`));
    return l.add(h, mlp);
  });
}

/** Taps interleaved channel by channel behind the final states: `[featureTokens, outputDim]`. */
function interleave(l: VisionLowering, x: Value, taps: readonly Value[]): Value {
  const { b } = l;
  const hidden = l.vision.hiddenSize;
  const final = l.featureTokens(x);
  if (taps.length === 0) return final;
  const stacked = taps.map((tap) => b.reshape(l.featureTokens(tap), [-1, hidden, 1]));
  return b.concat([final, b.reshape(b.concat(stacked, 2), [-1, hidden * taps.length])], 1);
}

/**
 * Outputs under the names of golden cases, all slots and the padding in their places: `full` is `full_sequence [T·P']`
 * of `VisionTokens`.
 */
export function visionTraces(l: VisionLowering, full: Value, stateTokens: Value) {
  const { b } = l;
  const { maxNumTiles: tiles, hiddenSize: hidden, outputDim } = l.vision;
  const { tokensPerTile, paddedTokensPerTile } = visionGeometry(l.vision);
  const shapes = {
    states: [1, tiles, tokensPerTile, hidden],
    full: [1, tiles * paddedTokensPerTile, hidden],
    'full by tile': [1, tiles, paddedTokensPerTile, hidden],
  };
  const output = (name: string, value: Value, shape: readonly number[]) =>
    b.output(b.reshape(value, shape), name, 'float32', shape);
  const tokens: VisionTrace = (name, value, where) =>
    output(name, b.gather(value(), where === 'states' ? stateTokens : full), shapes[where]);
  const features = (value: Value) =>
    output('last_hidden_state', b.gather(value, stateTokens), [1, 1, tiles, tokensPerTile, outputDim]);
  return { tokens, features };
}
