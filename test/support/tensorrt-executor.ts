/**
 * Stands for the addon's TensorRT functions in tests: the same calls, the same graph files, the same weights by place in
 * their files, run by ONNX Runtime. In plugin mode the rewritten graphs run, with functions in place of the plugins. It
 * is strict where TensorRT is: names, types, shapes within profiles.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import ort from 'onnxruntime-node';
import type {
  BuiltTensorRtPlan,
  HostTensor,
  OpenedTensorRtModel,
  TensorRtAddon,
  TensorRtArray,
  TensorRtBinding,
  TensorRtForward,
  TensorRtModelSpec,
  TensorRtPlanRequest,
  TensorRtProgress,
  TensorRtStage,
  TensorRtStatus,
} from '#sdk/engine/tensorrt/addon-types.js';
import { bfloat16ToFloat32, type LoweringManifest } from '#sdk/graph/tensorrt/index.js';
import { sessionOptions, tensorOf } from './lowered-graphs.js';
import { withReferencePlugins } from './reference-plugins.js';

type Tensors = Record<string, ort.Tensor>;
type OnProgress = (progress: TensorRtProgress) => void;

export class NativeError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface ExecutorOptions {
  readonly status?: Partial<TensorRtStatus>;
  /** Called before a plan is built; what it throws is the build's end. */
  readonly onBuild?: (request: TensorRtPlanRequest, abort: Int32Array) => void;
  /** Called before a model takes its memory. */
  readonly onOpen?: (spec: TensorRtModelSpec) => void;
  /** Called before each step; may change what goes in. */
  readonly onStep?: (stage: TensorRtStage, inputs: Tensors) => void;
  /** What plugins say of caches that they do not find in place. */
  readonly keyValueCopies?: number;
  /** What the inspector tells of a plan. */
  readonly layers?: (request: TensorRtPlanRequest) => string;
  /** A weight as it reaches the device. */
  readonly onWeight?: (name: string, data: ort.Tensor['data']) => void;
}

interface Model {
  readonly spec: TensorRtModelSpec;
  readonly sessions: Map<string, ort.InferenceSession>;
  readonly weights: Map<string, ort.Tensor>;
}

const GB = 1e9;

export class TensorRtExecutor implements TensorRtAddon {
  readonly options: ExecutorOptions;
  /** Stages in the order in which they ran, with their tokens of embeddings. */
  readonly steps: { readonly stage: string; readonly tokens: number }[] = [];
  readonly built: string[] = [];
  readonly #live = new Map<object, 'model' | 'sequence' | 'image'>();
  readonly #models = new Map<object, Model>();
  readonly #caches = new Map<object, Tensors>();
  readonly #images = new Map<object, Tensors>();

  constructor(options: ExecutorOptions = {}) {
    this.options = options;
  }

  /** Objects that nobody has released. */
  get live(): string[] {
    return [...this.#live.values()];
  }

  tensorRtStatus(): TensorRtStatus {
    return {
      compiledFor: '10.3.0',
      library: { path: '/usr/lib/aarch64-linux-gnu/libnvinfer.so.10', version: '10.3.0' },
      device: {
        name: 'ONNX Runtime',
        smMajor: 8,
        smMinor: 7,
        smCount: 16,
        totalBytes: 64 * GB,
        freeBytes: 60 * GB,
        driverVersion: 12060,
        integrated: true,
        hasKernels: true,
      },
      l4tRelease: 'R36.4.3',
      powerMode: '0',
      problem: null,
      ...this.options.status,
    };
  }

  async buildTensorRtPlan(
    request: TensorRtPlanRequest,
    onProgress: OnProgress,
    abort: Int32Array,
  ): Promise<BuiltTensorRtPlan> {
    const origin = existsSync(request.plan) ? 'found' : 'built';
    if (origin === 'built') {
      const { name } = request;
      const partial = `${request.plan}.partial`;
      writeFileSync(partial, '');
      try {
        for (let done = 0; done <= 2; done++) {
          onProgress({ kind: 'progress', stage: 'build', name, phase: 'tactics', done, total: 2 });
          if (done === 1) this.options.onBuild?.(request, abort);
          await new Promise((resolve) => setImmediate(resolve));
          checkAbort(abort);
        }
      } finally {
        rmSync(partial, { force: true });
      }
      // A "plan" says only that this graph was built.
      writeFileSync(request.plan, JSON.stringify(request));
      this.built.push(name);
    }
    const sizeBytes = readFileSync(request.plan).byteLength;
    return { path: request.plan, origin, reason: null, sizeBytes, seconds: 0, remarks: [], layers: null };
  }

  async openTensorRtModel(
    spec: TensorRtModelSpec,
    onProgress: OnProgress,
    abort: Int32Array,
  ): Promise<OpenedTensorRtModel> {
    const plans: BuiltTensorRtPlan[] = [];
    for (const { plan } of spec.stages) {
      const layers = plan.inspected ? (this.options.layers?.(plan) ?? null) : null;
      plans.push({ ...(await this.buildTensorRtPlan(plan, onProgress, abort)), layers });
    }
    this.options.onOpen?.(spec);
    const model: Model = { spec, sessions: new Map(), weights: new Map() };
    for (const weight of spec.weights) model.weights.set(weight.name, this.#readWeight(spec, weight));
    for (const stage of spec.stages) {
      const session = await openSession(stage.plan);
      checkBindings(stage, session);
      model.sessions.set(stage.name, session);
    }
    checkAbort(abort);
    const handle = this.#handle('model');
    this.#models.set(handle, model);
    const none = { weights: 0, plans: 0, keyValues: 0, images: 0, scratch: 0, bindings: 0 };
    return { handle, plans, memory: none };
  }

  async encodeTensorRtImage(
    handle: object,
    inputs: Readonly<Record<string, HostTensor>>,
    outputs: Readonly<Record<string, TensorRtArray>>,
    abort: Int32Array,
  ) {
    const model = this.#models.get(handle)!;
    let produced: Tensors = {};
    const cross: Tensors = {};
    for (const name of model.spec.encode) {
      checkAbort(abort);
      const stage = model.spec.stages.find((each) => each.name === name)!;
      const host = stage.bindings.filter(({ role }) => role === 'host');
      const feeds: Tensors = {};
      for (const { name: input } of host) feeds[input] = produced[input] ?? toTensor(inputs[input], input);
      produced = await this.#run(model, stage, feeds);
      copyOutputs(produced, outputs);
      for (const { name: output, role } of stage.bindings) if (role === 'cross') cross[output] = produced[output]!;
    }
    const image = this.#handle<'image'>('image');
    this.#images.set(image, cross);
    const sizeBytes = Object.values(cross).reduce((sum, tensor) => sum + (tensor.data as Uint8Array).byteLength, 0);
    return { handle: image, sizeBytes, positions: Object.values(cross)[0]!.dims[2]! };
  }

  async readTensorRtImage(
    _model: object,
    handle: object,
    { name, head }: { readonly name: string; readonly head: number },
    into: TensorRtArray,
    abort: Int32Array,
  ): Promise<void> {
    checkAbort(abort);
    const tensor = this.#images.get(handle)?.[name];
    const [, heads, positions, headDim] = (tensor?.dims ?? []) as [number, number, number, number];
    if (tensor === undefined || head < 0 || head >= heads || into.length > positions * headDim) {
      throw new NativeError('ERR_ARGUMENT_INVALID', `no ${into.length} values of head ${head} of ${name}`);
    }
    const from = head * positions * headDim;
    (into as Float32Array).set((tensor.data as Float32Array).subarray(from, from + into.length));
  }

  createTensorRtSequence(handle: object) {
    const { spec } = this.#models.get(handle)!;
    const caches: Tensors = {};
    for (const { name, role, type, shape } of spec.stages.flatMap((stage) => stage.bindings)) {
      if (role !== 'past') continue;
      const count = shape.reduce<number>((product, side) => product * Number(side), 1);
      caches[name] ??= tensorOf(type as 'float16', new Float32Array(count), shape as number[]);
    }
    const sequence = this.#handle<'sequence'>('sequence');
    this.#caches.set(sequence, caches);
    return sequence;
  }

  async forwardTensorRt(handle: object, sequence: object, call: TensorRtForward, abort: Int32Array) {
    checkAbort(abort);
    const model = this.#models.get(handle)!;
    const stage = model.spec.stages.find(({ name }) => name === call.stage);
    if (stage === undefined) throw new NativeError('ERR_ARGUMENT_INVALID', `no stage ${call.stage}`);
    const caches = this.#caches.get(sequence)!;
    const feeds: Tensors = {};
    for (const { name, role } of stage.bindings) {
      if (role === 'host') feeds[name] = toTensor(call.inputs[name], name);
      if (role === 'past') feeds[name] = caches[name]!;
    }
    const images = call.images.map((image) => this.#images.get(image)!);
    const crossNames = stage.bindings.filter(({ role }) => role === 'cross').map(({ name }) => name);
    if (crossNames.length > 0 !== images.length > 0) {
      throw new NativeError('ERR_ARGUMENT_INVALID', `${stage.name} and ${images.length} images do not go together`);
    }
    for (const name of crossNames) feeds[name] = joinKeys(images.map((image) => image[name]!));
    this.steps.push({ stage: stage.name, tokens: feeds.inputs_embeds!.dims[1]! });
    const made = await this.#run(model, stage, feeds);
    for (const name of Object.keys(caches)) caches[name] = made[name.replace('past_', 'present_')]!;
    copyOutputs(made, call.outputs);
    checkAbort(abort);
    return { keyValueCopies: stage.plan.plugins ? (this.options.keyValueCopies ?? 0) : 0 };
  }

  releaseTensorRtHandle(handle: object): void {
    this.#live.delete(handle);
    this.#models.delete(handle);
    this.#caches.delete(handle);
    this.#images.delete(handle);
  }

  #handle<K extends 'model' | 'sequence' | 'image'>(kind: K): never {
    const handle = { kind };
    this.#live.set(handle, kind);
    return handle as never;
  }

  async #run(model: Model, stage: TensorRtStage, feeds: Tensors): Promise<Tensors> {
    for (const { name, role } of stage.bindings) if (role === 'weight') feeds[name] = model.weights.get(name)!;
    this.options.onStep?.(stage, feeds);
    for (const { name, min, max } of stage.plan.profile) {
      feeds[name]!.dims.forEach((side, index) => {
        if (side < min[index]! || side > max[index]!) {
          const range = `[${min}] to [${max}]`;
          throw new NativeError('ERR_ENGINE_FAILED', `${name} [${feeds[name]!.dims}] of ${stage.name} is not ${range}`);
        }
      });
    }
    return (await model.sessions.get(stage.name)!.run(feeds)) as Tensors;
  }

  #readWeight(spec: TensorRtModelSpec, { name, file, offsetBytes, sizeBytes }: TensorRtModelSpec['weights'][number]) {
    const bytes = new ArrayBuffer(sizeBytes);
    const handle = openSync(file, 'r');
    if (readSync(handle, new Uint8Array(bytes), 0, sizeBytes, offsetBytes) !== sizeBytes) throw new RangeError(file);
    closeSync(handle);
    const binding = spec.stages.flatMap((stage) => stage.bindings).find((each) => each.name === name)!;
    const { type, shape } = binding;
    const arrays = { int32: Int32Array, float32: Float32Array, float16: Uint16Array };
    const data = new arrays[type as keyof typeof arrays](bytes);
    this.options.onWeight?.(name, data as never);
    return new ort.Tensor(type as 'float32', data as Float32Array, shape as number[]);
  }
}

async function openSession({ graph, plugins, weightsRoot }: TensorRtPlanRequest): Promise<ort.InferenceSession> {
  const bytes = readFileSync(graph);
  const manifest = JSON.parse(readFileSync(path.join(path.dirname(graph), 'manifest.json'), 'utf8'));
  const whole = plugins ? withReferencePlugins(bytes, manifest as LoweringManifest) : bytes;
  return ort.InferenceSession.create(bfloat16ToFloat32(whole), sessionOptions(weightsRoot));
}

/** Exactly what the specification lists goes in and comes out. */
function checkBindings(stage: TensorRtStage, session: ort.InferenceSession): void {
  const isOutput = ({ name, role }: TensorRtBinding) =>
    role === 'output' || role === 'present' || (role === 'cross' && stage.name === 'cross-kv' && name !== '');
  const listed = [
    stage.bindings.filter((binding) => !isOutput(binding)).map(({ name }) => name),
    stage.bindings.filter(isOutput).map(({ name }) => name),
  ];
  const there = [session.inputNames, session.outputNames];
  for (const side of [0, 1]) {
    const [a, b] = [[...listed[side]!].sort().join(), [...there[side]!].sort().join()];
    if (a !== b) throw new NativeError('ERR_ENGINE_INCOMPATIBLE', `${stage.name} has ${b}, not ${a}`);
  }
}

function toTensor(input: HostTensor | undefined, name: string): ort.Tensor {
  if (input === undefined) throw new NativeError('ERR_ARGUMENT_INVALID', `${name} is missing`);
  return new ort.Tensor(input.type as 'float32', input.data as Float32Array, input.shape);
}

function copyOutputs(made: Tensors, outputs: Readonly<Record<string, TensorRtArray>>): void {
  for (const [name, into] of Object.entries(outputs)) {
    const data = made[name]?.data as Float32Array | undefined;
    if (data === undefined) continue;
    if (data.length !== into.length) {
      throw new NativeError('ERR_ARGUMENT_INVALID', `${name} has ${data.length} values, not ${into.length}`);
    }
    (into as Float32Array).set(data);
  }
}

function checkAbort(abort: Int32Array): void {
  if (abort[0] !== 0) throw new NativeError('ABORTED', 'aborted');
}

/** `[1, kvHeads, K, headDim]` of several images one after another along K. */
function joinKeys(stages: readonly ort.Tensor[]): ort.Tensor {
  const [first] = stages;
  if (stages.length === 1) return first!;
  const [, heads, , headDim] = first!.dims as [number, number, number, number];
  const keys = stages.reduce((sum, { dims }) => sum + dims[2]!, 0);
  const Data = (first!.data as Float32Array).constructor as Float32ArrayConstructor;
  const joined = new Data(heads * keys * headDim);
  for (let head = 0, at = 0; head < heads; head++) {
    for (const { data, dims } of stages) {
      const size = dims[2]! * headDim;
      joined.set((data as Float32Array).subarray(head * size, (head + 1) * size), at);
      at += size;
    }
  }
  return new ort.Tensor(first!.type as 'float32', joined, [1, heads, keys, headDim]);
}
