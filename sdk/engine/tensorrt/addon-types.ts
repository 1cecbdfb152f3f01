/**
 * What native/addon/engine/tensorrtBindings.cpp exports. TypeScript decides tokens, chunks, masks, positions and
 * embeddings; the addon builds and keeps plans, holds device memory, binds tensors by name, copies and runs.
 */
declare const kind: unique symbol;
/** Opaque; holds its object until released or collected. Calls that run keep the object alive. */
export interface TensorRtModelHandle {
  readonly [kind]: 'model';
}
export interface TensorRtSequenceHandle {
  readonly [kind]: 'sequence';
}
export interface TensorRtImageHandle {
  readonly [kind]: 'image';
}

export type TensorRtType = 'float32' | 'float16' | 'bfloat16' | 'int32' | 'int64' | 'int8' | 'uint8';

export type TensorRtArray =
  | Float32Array
  | Uint16Array // float16 and bfloat16, by bits
  | Int32Array
  | BigInt64Array
  | Int8Array
  | Uint8Array;

/** `data` must not change until the call's promise settles. */
export interface HostTensor {
  readonly type: TensorRtType;
  readonly shape: readonly number[];
  readonly data: TensorRtArray;
}

export interface TensorRtDevice {
  readonly name: string;
  readonly smMajor: number;
  readonly smMinor: number;
  readonly smCount: number;
  readonly totalBytes: number;
  /** What an allocation can have now; on a Jetson the memory that the system can free for it counts. */
  readonly freeBytes: number;
  /** CUDA's number: 12060 is 12.6. */
  readonly driverVersion: number;
  /** Shares its memory with the processor, as on a Jetson. */
  readonly integrated: boolean;
  /** Our own kernels are in the addon: without them plugins cannot be used. */
  readonly hasKernels: boolean;
}

export interface TensorRtStatus {
  /** Version of the headers that the addon was compiled with; null when it was compiled without any. */
  readonly compiledFor: string | null;
  readonly library: { readonly path: string; readonly version: string } | null;
  readonly device: TensorRtDevice | null;
  /** Contents of the board's own files: `R36.4.3`, and the number of nvpmodel's power mode. Null elsewhere. */
  readonly l4tRelease: string | null;
  readonly powerMode: string | null;
  /** Why the backend cannot run here: the first obstacle, what was looked for and what to do. */
  readonly problem: { readonly code: string; readonly message: string } | null;
}

/** Smallest, usual and largest shape of an input that has symbolic dimensions. */
export interface TensorRtProfile {
  readonly name: string;
  readonly min: readonly number[];
  readonly opt: readonly number[];
  readonly max: readonly number[];
}

export interface TensorRtPlanRequest {
  /** For messages and progress: `prefill`, `vision`, … */
  readonly name: string;
  /** ONNX file. */
  readonly graph: string;
  /**
   * Folder that the graph's external data are relative to: the checkpoint and the files made from it lie under it, the
   * graph need not. The parser refuses data outside the folder of the path that it is told, so it is given the graph's
   * bytes and a path in here.
   */
  readonly weightsRoot: string;
  /** The plan's file. Lock, timing cache and half-written plan lie beside it: `.lock`, `.timing`, `.partial`. */
  readonly plan: string;
  /** Says which weights the graph refers to, such as a content hash of the checkpoint. Part of the plan's key. */
  readonly weightsIdentity: string;
  /** Size of the plan, about: room on the disk and memory are checked before it is built. 0 when unknown. */
  readonly expectedBytes: number;
  /** Our own operators run as plugins and write present K/V over past. The graph is then the rewritten one. */
  readonly plugins: boolean;
  readonly profile: readonly TensorRtProfile[];
  /** Scratch memory that a tactic may use; 0: TensorRT's default, all there is. */
  readonly workspaceBytes: number;
  /** TensorRT's 0 to 5; 3 is its default. */
  readonly optimizationLevel: number;
  /** The plan keeps what its inspector tells of each layer. */
  readonly inspected: boolean;
}

export interface BuiltTensorRtPlan {
  readonly path: string;
  readonly origin: 'found' | 'built' | 'replaced';
  /** Why a plan that was there had to be replaced. */
  readonly reason: string | null;
  readonly sizeBytes: number;
  readonly seconds: number;
  /** What TensorRT warned of while it was built: profiles that contradict themselves, kernels that were not tried. */
  readonly remarks: readonly string[];
  /** Of an inspected plan that was opened: JSON of TensorRT's inspector. */
  readonly layers: string | null;
}

export type TensorRtProgress =
  | {
      readonly kind: 'progress';
      /** `wait` for another builder, `build`, `load` of plans, `weights`. */
      readonly stage: 'wait' | 'build' | 'load' | 'weights';
      /** Name of the plan request; empty for `weights`. */
      readonly name: string;
      /** TensorRT's name of what it is doing, while it builds. */
      readonly phase: string;
      /** Steps of the phase, or bytes of weights. */
      readonly done: number;
      readonly total: number;
    }
  /** Something that a log should tell: a plan replaced, a damaged timing cache ignored. */
  | { readonly kind: 'notice'; readonly message: string };

/**
 * How the addon treats a tensor. Input or output is the plan's own statement.
 * - `host`: an input that comes with the call, or is the output of a stage that ran before it in `encode`
 * - `past`, `present`: K/V of the sequence; `past_key.3` and `present_key.3` belong together
 * - `cross`: cross-attention K/V of an image; made by `encode`, read by the decoder. Dimension 2 is the positions
 * - `weight`: an input that stays on the device, from `weights`
 * - `output`: copied to the host when asked for
 */
export type TensorRtRole = 'host' | 'past' | 'present' | 'cross' | 'weight' | 'output';

export interface TensorRtBinding {
  readonly name: string;
  readonly role: TensorRtRole;
  readonly type: TensorRtType;
  /** A text is a dimension that the call decides. */
  readonly shape: readonly (number | string)[];
  /** Largest that it may become: memory is taken for it. */
  readonly maxShape: readonly number[];
}

export interface TensorRtStage {
  /** How calls name it; usually the plan's name. */
  readonly name: string;
  readonly plan: TensorRtPlanRequest;
  readonly bindings: readonly TensorRtBinding[];
  /** Steps of this stage are recorded as CUDA graphs, one for each combination of shapes and addresses. */
  readonly captured: boolean;
}

export interface TensorRtWeight {
  /** Name of the binding. */
  readonly name: string;
  readonly file: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export interface TensorRtModelSpec {
  readonly name: string;
  readonly stages: readonly TensorRtStage[];
  /** Names of the stages that make an image's cross K/V, in order. */
  readonly encode: readonly string[];
  readonly weights: readonly TensorRtWeight[];
  /** Sequences and images whose memory is taken when the model opens; more are taken as they are made. */
  readonly sequences: number;
  readonly images: number;
  /** Cross-attention positions of the largest image, for the forecast and the memory taken at once. */
  readonly imagePositions: number;
  /** Memory that must stay free beside the model. */
  readonly reserveBytes: number;
}

export interface OpenedTensorRtModel {
  readonly handle: TensorRtModelHandle;
  readonly plans: readonly BuiltTensorRtPlan[];
  /** Memory of the device in bytes, as forecast and then taken. `plans` counts what plans hold of weights. */
  readonly memory: {
    readonly weights: number;
    readonly plans: number;
    readonly keyValues: number;
    readonly images: number;
    readonly scratch: number;
    readonly bindings: number;
  };
}

export interface TensorRtForward {
  /** Name of a decoder stage. */
  readonly stage: string;
  /** Every `host` input of the stage. */
  readonly inputs: Readonly<Record<string, HostTensor>>;
  /** Cross K/V, joined along the positions in this order. Empty for a stage without cross-attention. */
  readonly images: readonly TensorRtImageHandle[];
  /** Outputs to copy, by name, such as `logits`; written before the promise settles. */
  readonly outputs: Readonly<Record<string, TensorRtArray>>;
}

/**
 * Promises reject with an Error whose `code` is one of the SDK's or `ABORTED`. `abort` is one int32: set it to 1.
 * Calls of one model run one after the other on a thread of its own. After a failure of the device every further call
 * rejects with ERR_ENGINE_FAILED: open the model again; with ERR_ENGINE_DIED only a new process can use the device again.
 */
export interface TensorRtAddon {
  tensorRtStatus(): TensorRtStatus;
  /** One graph to one plan: found, built, or replaced when the one that is there fits no more. */
  buildTensorRtPlan(
    request: TensorRtPlanRequest,
    onProgress: (progress: TensorRtProgress) => void,
    abort: Int32Array,
  ): Promise<BuiltTensorRtPlan>;
  /**
   * Builds what is missing, forecasts the memory (ERR_ENGINE_OUT_OF_MEMORY with figures), then takes it all. Notices
   * may also come later, as long as the model is open.
   */
  openTensorRtModel(
    spec: TensorRtModelSpec,
    onProgress: (progress: TensorRtProgress) => void,
    abort: Int32Array,
  ): Promise<OpenedTensorRtModel>;
  /** Runs the stages of `encode`. `outputs` copies outputs of any of them, for a self-test. */
  encodeTensorRtImage(
    model: TensorRtModelHandle,
    inputs: Readonly<Record<string, HostTensor>>,
    outputs: Readonly<Record<string, TensorRtArray>>,
    abort: Int32Array,
  ): Promise<{ readonly handle: TensorRtImageHandle; readonly sizeBytes: number; readonly positions: number }>;
  /**
   * Copies one head of a cross binding of an image, such as `cross_key.3`: `[positions, headDim]` from the first position
   * on, as many as `into` holds.
   */
  readTensorRtImage(
    model: TensorRtModelHandle,
    image: TensorRtImageHandle,
    part: { readonly name: string; readonly head: number },
    into: TensorRtArray,
    abort: Int32Array,
  ): Promise<void>;
  /** K/V of a new conversation, all zero. Its length is the caller's business: `past_length` is an input. */
  createTensorRtSequence(model: TensorRtModelHandle): TensorRtSequenceHandle;
  /**
   * When it rejects, the K/V below the call's `past_length` are as before. `keyValueCopies`: caches that plugins of this
   * model did not find in place so far, each a copy; counted when a step is put together, not when it is repeated.
   */
  forwardTensorRt(
    model: TensorRtModelHandle,
    sequence: TensorRtSequenceHandle,
    call: TensorRtForward,
    abort: Int32Array,
  ): Promise<{ readonly keyValueCopies: number }>;
  /** Idempotent. Frees the object now, or after the call that uses it. */
  releaseTensorRtHandle(handle: TensorRtModelHandle | TensorRtSequenceHandle | TensorRtImageHandle): void;
}

declare module '../../native/addon-types.js' {
  interface EngineAddon extends TensorRtAddon {}
}
