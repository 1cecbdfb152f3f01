/**
 * Attention weights of one call: queries come out of the decoder's plan, keys out of the images; they are multiplied
 * here. One head of a picture's keys is 1.6 MB of an 11B model, so that few heads cost little, and a key head at a time
 * leaves the thread to others in between.
 */
import type { TextArchitecture } from '../../architecture/architecture.js';
import type { AttentionRequest, AttentionWeights, HeadId } from '../engine.js';
import { keyValueHeadOf, writeAttentionWeights } from '../shared/attention-weights.js';
import type { NativePlacedImage } from '../shared/native-engine.js';
import type { TensorRtArray, TensorRtBinding, TensorRtImageHandle, TensorRtStage } from './addon-types.js';
import { arrayFor, floatsOf } from './element-arrays.js';

const queryName = (layer: number) => `cross_query.${layer}`;

/** Part of an image's keys `[positions, headDim]`, from the first position on, as many as `into` holds. */
export type ReadKeys = (
  image: TensorRtImageHandle,
  part: { readonly name: string; readonly head: number },
  into: TensorRtArray,
) => Promise<void>;

export class AttentionTaps {
  readonly #text: TextArchitecture;
  readonly #request: AttentionRequest;
  readonly #layers: readonly number[];
  /** By layer: of each asked token `[heads, headDim]`, in their order. */
  readonly #queries = new Map<number, Float32Array>();

  constructor(text: TextArchitecture, request: AttentionRequest) {
    this.#text = text;
    this.#request = request;
    this.#layers = [...new Set(request.heads.map(({ layer }) => layer))];
  }

  /** Adds room for the queries of a step of `count` tokens from `start` on, where any of them is asked for. */
  addOutputs(outputs: Record<string, TensorRtArray>, { bindings }: TensorRtStage, start: number, count: number): void {
    if (!this.#request.tokens.some((token) => start <= token && token < start + count)) return;
    for (const layer of this.#layers) {
      const query = bindings.find(({ name }) => name === queryName(layer));
      // A step of text alone sees no image: its weights are 0.
      if (query !== undefined) outputs[query.name] = arrayFor(query.type, count * this.#tokenSize);
    }
  }

  /** Keeps what is asked for of the outputs of that step. */
  keep(outputs: Readonly<Record<string, TensorRtArray>>, { bindings }: TensorRtStage, start: number): void {
    for (const layer of this.#layers) {
      const made = outputs[queryName(layer)];
      if (made === undefined) continue;
      const { type } = bindings.find(({ name }) => name === queryName(layer))!;
      const count = made.length / this.#tokenSize;
      for (const [t, token] of this.#request.tokens.entries()) {
        if (token < start || token >= start + count) continue;
        const row = made.subarray((token - start) * this.#tokenSize, (token - start + 1) * this.#tokenSize);
        this.#kept(layer).set(floatsOf(row, type), t * this.#tokenSize);
      }
    }
  }

  /**
   * @param keys the binding of one layer's keys, for its type
   * @param firstToken of the slice, in the sequence
   */
  async weights(
    images: readonly NativePlacedImage<TensorRtImageHandle>[],
    tokensPerTile: number,
    firstToken: number,
    keys: Pick<TensorRtBinding, 'type'>,
    read: ReadKeys,
  ): Promise<AttentionWeights> {
    const { heads, tokens } = this.#request;
    const { headDim } = this.#text;
    const visible = images.map(({ numTiles }) => numTiles * tokensPerTile);
    const visionTokens = visible.reduce((sum, count) => sum + count, 0);
    const weights = new Float32Array(heads.length * tokens.length * visionTokens);
    const keyHeads = new Map(heads.map((head) => [this.#keyHead(head), head]));
    for (const [keyHead, { layer, head }] of keyHeads) {
      if (!this.#queries.has(layer)) continue;
      const part = { name: `cross_key.${layer}`, head: keyValueHeadOf(this.#text, head) };
      const keyed = [];
      for (const [i, { handle, tokenIndex }] of images.entries()) {
        const into = arrayFor(keys.type, visible[i]! * headDim);
        await read(handle, part, into);
        const values = floatsOf(into, keys.type);
        keyed.push({ tokenIndex, visible: visible[i]!, key: () => values });
      }
      const query = (each: HeadId, token: number) =>
        this.#keyHead(each) === keyHead ? this.#query(each, token) : undefined;
      writeAttentionWeights(this.#text, this.#request, { images: keyed, query, firstToken }, weights);
    }
    return { weights, visionTokens };
  }

  get #tokenSize(): number {
    return this.#text.attentionHeads * this.#text.headDim;
  }

  #keyHead({ layer, head }: HeadId): string {
    return `${layer}.${keyValueHeadOf(this.#text, head)}`;
  }

  #kept(layer: number): Float32Array {
    const kept = this.#queries.get(layer) ?? new Float32Array(this.#request.tokens.length * this.#tokenSize);
    this.#queries.set(layer, kept);
    return kept;
  }

  #query({ layer, head }: HeadId, token: number): Float32Array | undefined {
    const at = this.#request.tokens.indexOf(token) * this.#tokenSize + head * this.#text.headDim;
    return this.#queries.get(layer)?.subarray(at, at + this.#text.headDim);
  }
}
