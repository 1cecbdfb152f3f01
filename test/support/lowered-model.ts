/** The whole model on lowered graphs: images and tokens in, logits out. */
import type ort from 'onnxruntime-node';
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { visionGeometry } from '#sdk/architecture/vision-tokens.js';
import type { Numerics } from '#sdk/engine/index.js';
import { keysPerImage, type PlanConstants, planCrossAttention } from '#sdk/engine/shared/cross-attention.js';
import { EmbeddingTable } from '#sdk/engine/shared/embedding-table.js';
import {
  type Bindings,
  LoweredGraphs,
  type LoweredOverrides,
  type LoweredSequence,
  tensorOf,
} from './lowered-graphs.js';

export interface LoweredImageState {
  readonly numTiles: number;
  readonly keys: number;
  readonly states: ort.Tensor;
  readonly keyValues: Bindings;
}

export interface PlacedLoweredImage {
  readonly image: LoweredImageState;
  readonly tokenIndex: number;
}

export interface LoweredSliceOptions {
  readonly images?: readonly PlacedLoweredImage[];
  readonly logits?: 'all' | 'last';
  /** Without images: the graph without cross layers, or the other one with their results dropped. */
  readonly textGraph?: boolean;
}

export class LoweredModel implements AsyncDisposable {
  readonly graphs: LoweredGraphs;
  readonly #embedding: EmbeddingTable;
  readonly #constants: PlanConstants;

  constructor(graphs: LoweredGraphs, model: ModelDescription, numerics: Numerics) {
    this.graphs = graphs;
    this.#embedding = new EmbeddingTable(model.tensors.get('language_model.model.embed_tokens.weight')!);
    const { vision } = model.architecture;
    const { tokensPerTile } = visionGeometry(vision);
    this.#constants = { tokensPerTile, maxNumTiles: vision.maxNumTiles, numerics };
  }

  static async open(
    model: ModelDescription,
    folder: string,
    numerics: Numerics = 'meta',
    overrides: LoweredOverrides = {},
  ): Promise<LoweredModel> {
    return new LoweredModel(await LoweredGraphs.open(model, folder, overrides), model, numerics);
  }

  async encode(
    image: { readonly pixelValues: Float32Array; readonly aspectRatioId: number; readonly numTiles: number },
    merged = false,
  ): Promise<LoweredImageState> {
    const allSlots = this.#constants.numerics !== 'meta';
    const states = (await this.graphs.vision({ ...image, merged, allSlots })).cross_attention_states!;
    const keyValues = await this.graphs.crossKeyValues(states);
    return { numTiles: image.numTiles, keys: keysPerImage(this.#constants, image.numTiles), states, keyValues };
  }

  /** `[logits rows, vocabulary]`: of all tokens or the last. */
  async forward(
    sequence: LoweredSequence,
    tokens: Int32Array,
    { images = [], logits = 'all', textGraph = images.length === 0 }: LoweredSliceOptions = {},
  ): Promise<Float32Array> {
    const count = tokens.length;
    return sequence.step({
      embeddings: this.#embedding.lookUp(tokens),
      tokens: count,
      logitsRows: logits === 'all' ? Array.from(tokens.keys()) : [count - 1],
      cross: textGraph ? undefined : this.#crossInputs(images, sequence.length, count),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#embedding[Symbol.dispose]();
    await this.graphs[Symbol.asyncDispose]();
  }

  #crossInputs(images: readonly PlacedLoweredImage[], firstToken: number, tokens: number): Bindings {
    const placed = images.map(({ image, tokenIndex }) => ({ numTiles: image.numTiles, tokenIndex }));
    const plan = planCrossAttention({ ...this.#constants, images: placed, firstToken, tokens });
    const chosen = plan.images.map((index) => images[index]!.image);
    // Tokens that see nothing still need one key to compute with.
    const keys = Math.max(plan.keys, 1);
    const bias = plan.keys === 0 ? new Float32Array(tokens) : plan.bias;
    const inputs: Record<string, ort.Tensor> = {
      cross_attention_bias: tensorOf('float32', bias, [1, 1, tokens, keys]),
      cross_attention_rows: tensorOf('float32', plan.attentionTokens, [1, tokens, 1]),
      cross_mlp_rows: tensorOf('float32', plan.mlpTokens, [1, tokens, 1]),
    };
    for (const { name, role, type } of this.graphs.manifest.graphs.decoder.inputs) {
      if (role !== 'cross') continue;
      const parts = chosen.map((image) => image.keyValues[name]!);
      inputs[name] = parts.length === 0 ? tensorOf(type, ...this.#oneKey()) : joinKeys(parts);
    }
    return inputs;
  }

  #oneKey(): [Float32Array, number[]] {
    const { keyValueHeads, headDim } = this.graphs.manifest.text;
    return [new Float32Array(keyValueHeads * headDim), [1, keyValueHeads, 1, headDim]];
  }
}

/** `[1, kvHeads, K, headDim]` of several images one after another along K. */
function joinKeys(parts: readonly ort.Tensor[]): ort.Tensor {
  const [first] = parts;
  if (parts.length === 1) return first!;
  const [, heads, , headDim] = first!.dims as [number, number, number, number];
  const keys = parts.reduce((sum, part) => sum + part.dims[2]!, 0);
  const Data = (first!.data as Float32Array).constructor as Float32ArrayConstructor;
  const joined = new Data(heads * keys * headDim);
  let at = 0;
  for (let head = 0; head < heads; head++) {
    for (const part of parts) {
      const size = part.dims[2]! * headDim;
      joined.set((part.data as Float32Array).subarray(head * size, (head + 1) * size), at);
      at += size;
    }
  }
  const Tensor = first!.constructor as typeof ort.Tensor;
  return new Tensor(first!.type as 'float32', joined, [1, heads, keys, headDim]);
}
