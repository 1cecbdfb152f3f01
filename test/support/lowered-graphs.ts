/**
 * Runs the graphs of the TensorRT lowering in ONNX Runtime, with bindings by name as the manifest lists them: what a
 * TensorRT engine does, without TensorRT. Plain and slow; sequences hold whole caches, and a present becomes the next
 * past.
 */
import { closeSync, mkdirSync, openSync, readSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import ort from 'onnxruntime-node';
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { type VisionTokensRequest, visionTokens } from '#sdk/architecture/vision-tokens.js';
import { type ElementType, weightsRoot } from '#sdk/graph/index.js';
import {
  type Binding,
  bfloat16ToFloat32,
  bfloat16Value,
  DEFAULT_LOWERING,
  float16Bits,
  float16Value,
  type LoweredGraph,
  type LoweredGraphName,
  type LoweredModelFiles,
  type LoweredType,
  type LoweredWeight,
  type LoweringManifest,
  type LoweringOptions,
  loweredVisionTokens,
  lowerModel,
  writeLoweredWeights,
} from '#sdk/graph/tensorrt/index.js';

import { withReferencePlugins } from './reference-plugins.js';

export type Bindings = Readonly<Record<string, ort.Tensor>>;

/** Emits everything into `folder`, weights included. Float32 unless said otherwise. */
export async function writeLoweredFiles(
  model: ModelDescription,
  folder: string,
  overrides: Partial<LoweringOptions> = {},
): Promise<LoweredModelFiles> {
  mkdirSync(folder, { recursive: true });
  const files = {
    convertedFile: path.join(folder, 'converted.bin'),
    transposedFile: path.join(folder, 'transposed.bin'),
  };
  const options: LoweringOptions = {
    ...DEFAULT_LOWERING,
    decoderType: 'float32',
    visionType: 'float32',
    capacity: 64,
    maxImages: 2,
    ...files,
    weightsRoot: weightsRoot(model, ...Object.values(files)),
    ...overrides,
  };
  await writeLoweredWeights(model, options);
  const { manifest, graphs } = lowerModel(model, options);
  for (const [name, graph] of Object.entries(graphs)) writeFileSync(path.join(folder, `${name}.onnx`), graph);
  writeFileSync(path.join(folder, 'manifest.json'), JSON.stringify(manifest, undefined, 1));
  return { manifest, graphs };
}

/** Sessions of the graphs, opened when first used, and what is done with them. */
export class LoweredGraphs implements AsyncDisposable {
  readonly manifest: LoweringManifest;
  readonly #files: LoweredModelFiles;
  readonly #plugins: boolean;
  readonly #sessions = new Map<LoweredGraphName, ort.InferenceSession>();
  readonly #weights = new Map<string, ort.Tensor>();

  /** @param plugins Graphs in plugin mode, with stand-ins for the plugins, and weights as inputs. */
  constructor(files: LoweredModelFiles, plugins = false) {
    this.manifest = provenManifest(files.manifest);
    this.#files = files;
    this.#plugins = plugins;
  }

  static async open(model: ModelDescription, folder: string, overrides: LoweredOverrides = {}) {
    const { plugins, ...lowering } = overrides;
    return new LoweredGraphs(await writeLoweredFiles(model, folder, lowering), plugins);
  }

  /** Checks that exactly what the manifest lists goes in and comes out. */
  async run(name: LoweredGraphName, inputs: Bindings): Promise<Bindings> {
    const { inputs: expected, outputs } = this.manifest.graphs[name];
    const missing = expected.filter((binding) => inputs[binding.name]?.type !== binding.type);
    if (missing.length > 0) throw new TypeError(`${name} misses ${missing.map((binding) => binding.name).join(', ')}`);
    const session = await this.#session(name);
    const known = new Set(expected.map((binding) => binding.name));
    const weights = session.inputNames
      .filter((input) => !known.has(input))
      .map((input) => [input, this.#weight(input)]);
    const made = await session.run({ ...inputs, ...Object.fromEntries(weights) });
    for (const { name: output, type } of outputs) {
      if (made[output]?.type !== type) throw new TypeError(`${name} does not give ${output} as ${type}`);
    }
    return made;
  }

  /** Cross-attention states `[K, hidden]` of an image; instrumented graphs give more. */
  async vision(image: LoweredImage, graph: 'vision' | 'vision-grouped' = 'vision'): Promise<Bindings> {
    const { vision } = this.manifest;
    const { tileSize, maxNumTiles } = vision;
    const tokens = visionTokens(vision, image);
    const slotLength = 3 * tileSize ** 2;
    const { biases, lists } = loweredVisionTokens(tokens);
    const inputs: Record<string, ort.Tensor> = {
      pixel_values: tensorOf('float32', image.pixelValues.subarray(0, tokens.slots * slotLength), [
        tokens.slots,
        3,
        tileSize,
        tileSize,
      ]),
      aspect_ratio_id: tensorOf('int64', [image.aspectRatioId], [1]),
    };
    for (const [name, list] of Object.entries(lists)) inputs[name] = tensorOf('int64', list, [list.length]);
    for (const [name, bias] of Object.entries(biases)) inputs[name] = tensorOf('float32', bias, [bias.length]);
    if (this.manifest.graphs.vision.inputs.some((binding) => binding.name === 'full_sequence')) {
      inputs.full_sequence = tensorOf('int64', tokens.fullSequence, [tokens.fullSequence.length]);
    }
    if (tokens.slots > maxNumTiles) throw new RangeError('more slots than the model has');
    return this.run(graph, inputs);
  }

  /** Keys and values of an image, by name of the decoder's input. */
  async crossKeyValues(states: ort.Tensor): Promise<Bindings> {
    return this.run('cross-kv', { cross_attention_states: states });
  }

  createSequence(): LoweredSequence {
    return new LoweredSequence(this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.#sessions.values()) await session.release();
    this.#sessions.clear();
  }

  async #session(name: LoweredGraphName): Promise<ort.InferenceSession> {
    const open = this.#sessions.get(name);
    if (open !== undefined) return open;
    const { graphs, manifest } = this.#files;
    const graph = this.#plugins ? withReferencePlugins(graphs[name], manifest) : graphs[name];
    const session = await ort.InferenceSession.create(bfloat16ToFloat32(graph), sessionOptions(manifest.weightsRoot));
    this.#sessions.set(name, session);
    return session;
  }

  /** An input of plugin mode, read from where the manifest says that it lies. */
  #weight(name: string): ort.Tensor {
    const known = this.#weights.get(name);
    if (known !== undefined) return known;
    const weight = this.manifest.weights.find((each) => each.name === name);
    if (weight === undefined) throw new RangeError(`the manifest does not list ${name}`);
    const bytes = readBytes(weight);
    const numbers = {
      int32: () => new Int32Array(bytes),
      float32: () => new Float32Array(bytes),
      float16: () => Float32Array.from(new Uint16Array(bytes), float16Value),
      bfloat16: () => Float32Array.from(new Uint16Array(bytes), bfloat16Value),
    }[weight.type as 'int32' | LoweredType]();
    const tensor = tensorOf(proven(weight.type), numbers, weight.shape);
    this.#weights.set(name, tensor);
    return tensor;
  }
}

export interface LoweredOverrides extends Partial<LoweringOptions> {
  readonly plugins?: boolean;
}

/** ONNX Runtime has no products in bfloat16: the same graphs are run in float32. */
function provenManifest(manifest: LoweringManifest): LoweringManifest {
  const retyped = (bindings: readonly Binding[]) =>
    bindings.map((binding) => ({ ...binding, type: proven(binding.type) }));
  const each = ({ inputs, outputs }: LoweredGraph) => ({ inputs: retyped(inputs), outputs: retyped(outputs) });
  const {
    vision,
    'vision-grouped': grouped,
    decoder,
    'cross-kv': crossKeyValue,
    'decoder-text': text,
    'decoder-queries': queries,
  } = manifest.graphs;
  const graphs = {
    vision: each(vision),
    'vision-grouped': each(grouped),
    'cross-kv': each(crossKeyValue),
    decoder: each(decoder),
    'decoder-text': each(text),
    'decoder-queries': each(queries),
  };
  return { ...manifest, graphs };
}

function proven(type: ElementType): ElementType {
  return type === 'bfloat16' ? 'float32' : type;
}

function readBytes({ file, offsetBytes, sizeBytes }: LoweredWeight): ArrayBuffer {
  const bytes = new ArrayBuffer(sizeBytes);
  const handle = openSync(file, 'r');
  try {
    if (readSync(handle, new Uint8Array(bytes), 0, sizeBytes, offsetBytes) !== sizeBytes) throw new RangeError('cut');
  } finally {
    closeSync(handle);
  }
  return bytes;
}

export function sessionOptions(weightsRoot: string): ort.InferenceSession.SessionOptions {
  return {
    executionProviders: ['cpu'],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 4,
    extra: {
      session: {
        model_external_initializers_file_folder_path: weightsRoot,
        // Float activations in products with int4 weights, as on the device; the default rounds them to int8.
        qdq_matmulnbits_accuracy_level: '1',
      },
    },
  };
}

export interface LoweredImage extends VisionTokensRequest {
  /** All slots: `[T, 3, S, S]`. */
  readonly pixelValues: Float32Array;
  readonly aspectRatioId: number;
}

export interface StepRequest {
  /** `[tokens, hidden]`. */
  readonly embeddings: Float32Array;
  readonly tokens: number;
  /** Tokens whose logits are wanted. */
  readonly logitsRows: readonly number[];
  /** Host inputs and keys and values of cross-attention; undefined: the graph without it. */
  readonly cross?: Bindings | undefined;
}

/** A K/V cache: zeros at first, later what the last step gave. */
export class LoweredSequence {
  length = 0;
  readonly #graphs: LoweredGraphs;
  #caches: Bindings;

  constructor(graphs: LoweredGraphs) {
    this.#graphs = graphs;
    const past = graphs.manifest.graphs['decoder-text'].inputs.filter((binding) => binding.role === 'past');
    this.#caches = Object.fromEntries(
      past.map(({ name, type, shape }) => {
        const sizes = shape as number[];
        const count = sizes.reduce((product, size) => product * size, 1);
        return [name, tensorOf(type, new Float32Array(count), sizes)];
      }),
    );
  }

  /** Appends tokens; `[logitsRows, vocabulary]`. */
  async step({ embeddings, tokens, logitsRows, cross }: StepRequest): Promise<Float32Array> {
    const name = cross === undefined ? 'decoder-text' : 'decoder';
    const made = await this.#graphs.run(name, {
      inputs_embeds: tensorOf('float32', embeddings, [1, tokens, embeddings.length / tokens]),
      past_length: tensorOf('int32', [this.length], [1]),
      logits_rows: tensorOf('int64', logitsRows, [logitsRows.length]),
      ...cross,
      ...this.#caches,
    });
    const { outputs } = this.#graphs.manifest.graphs[name];
    const presents = outputs.filter((binding) => binding.role === 'present');
    this.#caches = Object.fromEntries(presents.map((binding) => [binding.aliasOf!, made[binding.name]!]));
    this.length += tokens;
    return floatsOf(made.logits!);
  }

  /** Tokens from `length` on are written over by what comes next. */
  truncate(length: number): void {
    this.length = length;
  }
}

type Numbers = ArrayLike<number> & Iterable<number>;

/** Numbers as a tensor of any float or integer type. */
export function tensorOf(type: ElementType, values: Numbers, shape: readonly number[]): ort.Tensor {
  const make = (data: ort.Tensor['data']) => new ort.Tensor(type as 'float32', data as Float32Array, shape);
  if (type === 'float32') return make(values instanceof Float32Array ? values : Float32Array.from(values));
  if (type === 'float16') return make(Uint16Array.from(values, float16Bits));
  if (type === 'int32') return make(Int32Array.from(values));
  if (type === 'int64') return make(BigInt64Array.from(Array.from(values, BigInt)));
  throw new TypeError(`no tensors of ${type} here`);
}

/** The numbers of a float tensor. */
export function floatsOf(tensor: ort.Tensor): Float32Array {
  if (tensor.data instanceof Float32Array) return tensor.data;
  return Float32Array.from(tensor.data as unknown as Uint16Array, float16Value);
}
