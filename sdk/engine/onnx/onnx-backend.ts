/**
 * What the worker thread computes: vision tower, cross keys and values, decoder steps, on ONNX Runtime. Calls must come
 * one after another, so that what one of them uses is never released under it.
 */
import path from 'node:path';
import { visionGeometry } from '../../architecture/vision-tokens.js';
import { SdkError } from '../../core/errors.js';
import { selfAttentionLayers } from '../../graph/index.js';
import type { AttentionRequest, AttentionWeights, HeadId, SliceResult } from '../engine.js';
import { writeAttentionWeights } from '../shared/attention-weights.js';
import { keysPerImage, type PlanConstants, planCrossAttention } from '../shared/cross-attention.js';
import { EmbeddingTable } from '../shared/embedding-table.js';
import type { NativeGate } from '../shared/native-gate.js';
import { chooseVisionTokens, isTap, rangeFeeds, visionFeeds } from '../shared/vision-inputs.js';
import { CrossKeyValues, type LayerKeyValues } from './cross-kv-store.js';
import { KeyValueCache } from './kv-cache.js';
import {
  type EncodeImageRequest,
  type EncodeStatesRequest,
  type ForwardRequest,
  type Graphs,
  type OnnxNotice,
  type OpenRequest,
  STEP_TOKENS,
} from './onnx-protocol.js';

/** Of a graph that is not the tower's. */
type GraphName = Exclude<keyof Graphs, 'vision'>;

/** Opened at once, behind the tower's; a decoder for text alone joins when it is first needed. */
const SESSIONS: Readonly<Record<'all' | 'vision' | 'text', readonly GraphName[]>> = {
  all: ['cross-kv', 'decoder'],
  vision: [],
  text: ['decoder-text'],
};

/** The module is handed in: only the worker imports it. */
export type Ort = typeof import('onnxruntime-node');
type Session = import('onnxruntime-node').InferenceSession;
type Tensor = import('onnxruntime-node').Tensor;
type Feeds = Record<string, Tensor>;

/** An open model on ONNX Runtime: sessions, the embedding table, images and sequences by id. */
export class OnnxBackend {
  readonly #ort: Ort;
  readonly #gate: NativeGate;
  readonly #config: OpenRequest;
  readonly #notify: (notice: OnnxNotice) => void;
  readonly #sessions = new Map<string, Session>();
  readonly #embedding: EmbeddingTable;
  readonly #images: CrossKeyValues;
  readonly #sequences = new Map<number, KeyValueCache>();
  readonly #selfLayers: readonly number[];
  readonly #constants: PlanConstants;

  constructor(ort: Ort, gate: NativeGate, config: OpenRequest, notify: (notice: OnnxNotice) => void) {
    const { text, vision } = config.architecture;
    this.#ort = ort;
    this.#gate = gate;
    this.#config = config;
    this.#notify = notify;
    this.#embedding = new EmbeddingTable(config.embedding);
    this.#images = new CrossKeyValues(text);
    this.#selfLayers = selfAttentionLayers(text);
    const { tokensPerTile } = visionGeometry(vision);
    this.#constants = { tokensPerTile, maxNumTiles: vision.maxNumTiles, numerics: config.numerics };
  }

  async load(): Promise<void> {
    const { graphs, parts = 'all' } = this.#config;
    const vision = parts === 'text' ? [] : graphs.vision.map((_, index) => visionName(index));
    const names = [...vision, ...SESSIONS[parts]];
    for (const [index, name] of names.entries()) {
      this.#report(index, names.length);
      await this.#session(name);
    }
    this.#report(names.length, names.length);
  }

  async encodeStates(request: EncodeStatesRequest): Promise<{ states: Float32Array; keys: number }> {
    const { hiddenSize } = this.#config.architecture.text;
    checkCancelled(request.cancel);
    const inputs = chooseVisionTokens(this.#config, request);
    const make = {
      float: (data: Float32Array, dims: readonly number[]) => this.#float(data, dims),
      int64: (values: readonly number[]) => this.#int64(values),
    };
    const feeds = visionFeeds(inputs, request.aspectRatioId, make);
    const traced = this.#config.trace && { full_sequence: this.#int64(inputs.tokens.fullSequence) };
    const taps: Feeds = {};
    const count = this.#config.graphs.vision.length;
    let result: Record<string, Tensor> = {};
    for (let index = 0; index < count; index++) {
      checkCancelled(request.cancel);
      const handover = { hidden: result.new_hidden, taps };
      result = await this.#run(visionName(index), { ...rangeFeeds(feeds, handover, index === count - 1), ...traced });
      for (const [name, tensor] of Object.entries(result)) if (isTap(name)) taps[name] = tensor;
    }
    const keys = keysPerImage(this.#constants, request.numTiles);
    return { states: floatsOf(result.cross_attention_states).subarray(0, keys * hiddenSize), keys };
  }

  async encodeImage(request: EncodeImageRequest): Promise<{ sizeBytes: number }> {
    const { hiddenSize } = this.#config.architecture.text;
    const { states, keys } = await this.encodeStates(request);
    checkCancelled(request.cancel);
    const made = await this.#run('cross-kv', { cross_attention_states: this.#float(states, [keys, hiddenSize]) });
    const layers = new Map<number, LayerKeyValues>();
    for (const layer of this.#config.architecture.text.crossAttentionLayers) {
      layers.set(layer, { key: floatsOf(made[`cross_key.${layer}`]), value: floatsOf(made[`cross_value.${layer}`]) });
    }
    return { sizeBytes: this.#images.add(request.image, { numTiles: request.numTiles, keys, layers }) };
  }

  disposeImage(image: number): void {
    this.#images.delete(image);
  }

  disposeSequence(sequence: number): void {
    this.#sequences.delete(sequence);
  }

  async forward(request: ForwardRequest): Promise<SliceResult> {
    const { tokens, position, attention: wanted } = request;
    const attention = wanted && this.#attentionOf(request, wanted);
    const cache = this.#sequence(request.sequence);
    cache.reserve(position + tokens.length, position);
    const { vocabularySize } = this.#config.architecture.text;
    const all = request.logits === 'all' ? new Float32Array(tokens.length * vocabularySize) : undefined;
    let last: Float32Array = new Float32Array(0);
    for (let start = 0; start < tokens.length; start += STEP_TOKENS) {
      checkCancelled(request.cancel);
      const step = tokens.subarray(start, start + STEP_TOKENS);
      last = await this.#step(request, cache, position + start, step, attention?.weights);
      all?.set(last, start * vocabularySize);
    }
    return {
      logits: all ?? last,
      logitsRows: (all ?? last).length / vocabularySize,
      ...(attention && { attention }),
    };
  }

  /** Zeros: what a token does not see stays so. */
  #attentionOf({ images }: ForwardRequest, { heads, tokens }: AttentionRequest): AttentionWeights {
    const { tokensPerTile } = this.#constants;
    const visionTokens = images.reduce((sum, { image }) => sum + this.#images.get(image).numTiles * tokensPerTile, 0);
    return { weights: new Float32Array(heads.length * tokens.length * visionTokens), visionTokens };
  }

  #writeAttention(
    request: ForwardRequest,
    result: Record<string, Tensor>,
    firstToken: number,
    tokens: number,
    weights: Float32Array,
  ): void {
    const { text } = this.#config.architecture;
    const { attentionHeads, headDim } = text;
    const images = request.images.map(({ image, tokenIndex }) => {
      const { numTiles, keys, layers } = this.#images.get(image);
      const visible = numTiles * this.#constants.tokensPerTile;
      const size = keys * headDim;
      const key = (layer: number, head: number) => layers.get(layer)!.key.subarray(head * size, (head + 1) * size);
      return { tokenIndex, visible, key };
    });
    const query = ({ layer, head }: HeadId, token: number) => {
      const row = request.position + token - firstToken;
      if (row < 0 || row >= tokens) return undefined;
      const at = (row * attentionHeads + head) * headDim;
      return floatsOf(result[crossQuery(layer)]).subarray(at, at + headDim);
    };
    writeAttentionWeights(text, request.attention!, { images, query, firstToken: request.position }, weights);
  }

  async close(): Promise<void> {
    for (const session of this.#sessions.values()) await this.#gate.pass(() => session.release());
    this.#sessions.clear();
    this.#embedding[Symbol.dispose]();
  }

  /**
   * One run of the decoder: appends to the cache and returns the wanted `[logitsRows, vocabulary]`, perhaps none.
   * @param attention of the whole call, where it is wanted
   */
  async #step(
    request: ForwardRequest,
    cache: KeyValueCache,
    start: number,
    tokens: Int32Array,
    attention: Float32Array | undefined,
  ): Promise<Float32Array> {
    const { hiddenSize, keyValueHeads, headDim } = this.#config.architecture.text;
    const count = tokens.length;
    const total = start + count;
    const cacheShape = [1, keyValueHeads, cache.capacity, headDim];
    const isLast = total === request.position + request.tokens.length;
    const first = request.logits === 'all' ? 0 : request.logits === 'last' && isLast ? count - 1 : count;
    const wanted = Array.from({ length: count - first }, (_, i) => first + i);
    const feeds: Feeds = {
      inputs_embeds: this.#float(this.#embedding.lookUp(tokens), [1, count, hiddenSize]),
      seqlens_k: new this.#ort.Tensor('int32', Int32Array.of(total - 1), [1]),
      total_sequence_length: new this.#ort.Tensor('int32', Int32Array.of(total), []),
      logits_rows: this.#int64(wanted),
    };
    for (const layer of this.#selfLayers) {
      feeds[`past_key.${layer}`] = this.#float(cache.key(layer), cacheShape);
      feeds[`past_value.${layer}`] = this.#float(cache.value(layer), cacheShape);
    }
    const textOnly = request.images.length === 0 && this.#config.separateTextDecoder;
    if (!textOnly) this.#addCrossFeeds(feeds, request, start, count);
    const queried = new Set(attention && request.attention?.heads.map(({ layer }) => layer));
    const result = await this.#run(textOnly ? 'decoder-text' : 'decoder', feeds, 'text.', queried);
    if (attention !== undefined) this.#writeAttention(request, result, start, count, attention);
    for (const layer of this.#selfLayers) {
      const [key, value] = [floatsOf(result[`new_key.${layer}`]), floatsOf(result[`new_value.${layer}`])];
      cache.write(layer, start, count, key, value);
    }
    return floatsOf(result.logits);
  }

  #addCrossFeeds(feeds: Feeds, request: ForwardRequest, firstToken: number, tokens: number): void {
    const { keyValueHeads, headDim } = this.#config.architecture.text;
    const images = request.images.map(({ image, tokenIndex }) => ({
      tokenIndex,
      numTiles: this.#images.get(image).numTiles,
    }));
    const plan = planCrossAttention({ ...this.#constants, images, firstToken, tokens });
    const chosen = plan.images.map((index) => request.images[index]!.image);
    const joined = this.#images.joined(chosen);
    const shape = [1, keyValueHeads, joined.keys, headDim];
    for (const [layer, { key, value }] of joined.layers) {
      feeds[`cross_key.${layer}`] = this.#float(key, shape);
      feeds[`cross_value.${layer}`] = this.#float(value, shape);
    }
    // Tokens that see nothing still need one key to compute with.
    const bias = plan.keys === 0 ? new Float32Array(tokens * joined.keys) : plan.bias;
    feeds.cross_attention_bias = this.#float(bias, [1, 1, tokens, joined.keys]);
    feeds.cross_attention_rows = this.#float(plan.attentionTokens, [1, tokens, 1]);
    feeds.cross_mlp_rows = this.#float(plan.mlpTokens, [1, tokens, 1]);
  }

  #sequence(id: number): KeyValueCache {
    const { keyValueHeads, headDim } = this.#config.architecture.text;
    const layers = this.#selfLayers;
    const cache =
      this.#sequences.get(id) ??
      new KeyValueCache({ layers, keyValueHeads, headDim, contextLength: this.#config.contextLength });
    this.#sequences.set(id, cache);
    return cache;
  }

  /** @param queried cross layers whose queries are wanted: each output that is fetched is a copy */
  async #run(
    name: string,
    feeds: Feeds,
    tracePrefix = '',
    queried: ReadonlySet<number> = new Set(),
  ): Promise<Record<string, Tensor>> {
    const session = await this.#session(name);
    const wanted = new Set([...queried].map(crossQuery));
    const fetches = session.outputNames.filter((output) => !output.startsWith(CROSS_QUERY) || wanted.has(output));
    const result = await this.#gate.pass(() => session.run(feeds, fetches));
    if (this.#config.trace) {
      for (const [output, tensor] of Object.entries(result)) {
        if (/^(new|cross)_(key|value|query)\./.test(output)) continue;
        const data = floatsOf(tensor).slice();
        this.#notify({ kind: 'tensor', name: `${tracePrefix}${output}`, data, shape: [...tensor.dims] });
      }
    }
    return result;
  }

  async #session(name: string): Promise<Session> {
    const open = this.#sessions.get(name);
    if (open !== undefined) return open;
    const session = await this.#gate.pass(() => this.#create(name));
    this.#sessions.set(name, session);
    return session;
  }

  #create(name: string): Promise<Session> {
    const { graphs, sessions, threads, weightsRoot } = this.#config;
    const isVision = name.startsWith(VISION);
    const graph = isVision ? graphs.vision[Number(name.slice(VISION.length))]! : graphs[name as GraphName];
    // Sessions of one tower run in turn: none keeps the memory that it took, nor threads that spin beside the next one.
    const inTurn = isVision && graphs.vision.length > 1;
    const options = {
      executionProviders: ['cpu'],
      graphOptimizationLevel: 'all',
      executionMode: 'sequential',
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 4, // errors come as exceptions; standard error is not ours
      ...(inTurn && { enableCpuMemArena: false, enableMemPattern: false }),
    } as const;
    const spinning = inTurn ? { intra_op: { allow_spinning: '0' } } : {};
    const place = { ...spinning, model_external_initializers_file_folder_path: weightsRoot };
    if (sessions === undefined) {
      return this.#ort.InferenceSession.create(graph, { ...options, extra: { session: place } });
    }
    const file = path.join(sessions.directory, `${name}.onnx`);
    if (sessions.use === 'read') {
      // Optimised and packed already: the weights are mapped from the file beside it.
      const opened = { ...options, graphOptimizationLevel: 'disabled', extra: { session: spinning } } as const;
      return this.#ort.InferenceSession.create(file, opened);
    }
    const written = {
      ...place,
      optimized_model_external_initializers_file_name: `${name}.weights`,
      optimized_model_external_initializers_min_size_in_bytes: '1024',
      save_external_prepacked_constant_initializers: '1',
    };
    const extra = { session: written };
    return this.#ort.InferenceSession.create(graph, { ...options, optimizedModelFilePath: file, extra });
  }

  #report(done: number, total: number): void {
    this.#notify({ kind: 'progress', progress: { phase: 'load graphs', done, total, unit: 'steps' } });
  }

  #float(data: Float32Array, dims: readonly number[]): Tensor {
    return new this.#ort.Tensor('float32', data, dims);
  }

  #int64(values: readonly number[]): Tensor {
    return new this.#ort.Tensor('int64', BigInt64Array.from(values, BigInt), [values.length]);
  }
}

const CROSS_QUERY = 'cross_query.';
const crossQuery = (layer: number) => `${CROSS_QUERY}${layer}`;
const VISION = 'vision.';
const visionName = (index: number) => `${VISION}${index}`;

/** Nobody waits for the answer any more: whoever cancelled was told at once. */
function checkCancelled(cancel: Int32Array | undefined): void {
  if (cancel === undefined || Atomics.load(cancel, 0) === 0) return;
  throw new SdkError('ERR_ENGINE_FAILED', 'The call was cancelled.');
}

function floatsOf(tensor: Tensor | undefined): Float32Array {
  return tensor!.data as Float32Array;
}
