/** A camera and a model that do what a test says, and the context that a feature is given. */
import {
  type Answer,
  type Camera,
  type CameraState,
  type Decidable,
  type Decision,
  type Frame,
  type GenerateOptions,
  type ReadOptions,
  SdkError,
  silentLogger,
  type VisionLanguageModel,
} from 'scenebus';
import { parseConfig } from '#device/config/load.js';
import type { DeviceConfig, DeviceConfigInput } from '#device/config/schema.js';
import type { AnyDeviceEvent, EventKind } from '#device/events/events.js';
import { EventHub } from '#device/events/hub.js';
import { Problems } from '#device/events/problems.js';
import { CameraPlaces } from '#device/features/camera-places.js';
import { CameraTracks } from '#device/features/camera-tracks.js';
import type { FeatureContext, Feed, FeedSource } from '#device/features/context.js';

/** A grey frame: its level is what a change gate sees of it. */
export function fakeFrame(number: number, level = 0): Frame {
  const width = 64;
  const height = 48;
  return {
    id: `cam-${number}`,
    capturedAtMs: 1_000 + number,
    sequence: number,
    width,
    height,
    format: 'rgb8',
    data: new Uint8Array(width * height * 3).fill(level),
  };
}

export const fakeUsage = {
  promptTokens: 10,
  reusedTokens: 4,
  generatedTokens: 5,
  draftedTokens: 0,
  acceptedTokens: 0,
  images: 1,
  reusedImages: 0,
  preemptions: 0,
};

export function fakeAnswer(text: string): Answer {
  const timings = {
    queueMs: 0,
    imageMs: 1,
    prefillMs: 1,
    timeToFirstTokenMs: 2,
    decodeMs: 3,
    engineCalls: 4,
    tokensPerSecond: 5,
    totalMs: 6,
  };
  return { text, objects: [], finishReason: 'stop', usage: fakeUsage, timings };
}

export interface ModelCall {
  readonly kind: 'ask' | 'describe' | 'decide';
  readonly frameId: string | undefined;
  readonly question: string | undefined;
  readonly options: GenerateOptions;
}

/** A model whose answers name the frame that it saw. `before` runs first and may throw or wait. */
export function fakeModel(
  before: (call: ModelCall) => Promise<void> = async () => {},
  decides: (call: ModelCall) => Pick<Decision, 'value' | 'probability' | 'notices'> = () => ({
    value: true,
    probability: 0.9,
  }),
) {
  const calls: ModelCall[] = [];
  const run = async (call: ModelCall): Promise<Answer> => {
    calls.push(call);
    await before(call);
    return fakeAnswer(`${call.kind} ${call.frameId}`);
  };
  const model = {
    info: {
      name: 'fake',
      contentHash: 'hash',
      writesBoxes: false,
      locates: false,
      notices: [] as readonly string[],
      engine: { backend: 'cpu', weights: 'int4', numerics: 'meta', contextLength: 1_024 },
    },
    stats: () => ({ waiting: { urgent: 0, question: 0, watch: 0, description: 0 }, running: 0, preemptions: 0 }),
    decide: async (image: Frame, question: string, _among: Decidable, options: GenerateOptions = {}) => {
      const call = { kind: 'decide', frameId: image.id, question, options } as const;
      await run(call);
      return decides(call);
    },
    ask: (image: Frame, question: string, options: GenerateOptions = {}) =>
      run({ kind: 'ask', frameId: image.id, question, options }),
    describe: (image: Frame, options: GenerateOptions = {}) =>
      run({ kind: 'describe', frameId: image.id, question: undefined, options }),
    [Symbol.asyncDispose]: async () => {},
  } as unknown as VisionLanguageModel;
  return { model, calls };
}

/** A feed that gives exactly the frames it is told to, each to the loop that waits for it. */
export class FakeFeed implements Feed {
  readonly id: string;
  readonly config: DeviceConfig['cameras'][number];
  hasFailed = false;
  notices: readonly string[] = [];
  source: FeedSource = {
    info: { id: 'cam', address: 'fake', kind: 'test', size: undefined, framesPerSecond: 30, backend: 'fake' },
    status: { state: 'streaming', sinceMs: 0 },
    newestSequence: 0,
  };
  latest: Frame | SdkError = new SdkError('ERR_CAPTURE_TIMEOUT', 'no frame yet');
  #queue: (Frame | 'end' | Error)[] = [];
  #wake: (() => void) | undefined;
  #asked: (() => void)[] = [];

  constructor(config: DeviceConfig['cameras'][number]) {
    this.id = config.id;
    this.config = config;
  }

  push(item: Frame | 'end' | Error): void {
    if (typeof item === 'object' && !(item instanceof Error)) this.latest = item;
    this.#queue.push(item);
    this.#wake?.();
  }

  /** Resolves when the loop has taken everything and asks for more. */
  async drained(): Promise<void> {
    if (this.#queue.length === 0 && this.#wake !== undefined) return;
    await new Promise<void>((resolve) => this.#asked.push(resolve));
  }

  async *frames({ signal }: { readonly signal?: AbortSignal | undefined }): AsyncGenerator<Frame> {
    for (;;) {
      signal?.throwIfAborted();
      const item = this.#queue.shift();
      if (item === 'end') return;
      if (item instanceof Error) throw item;
      if (item !== undefined) {
        yield item;
        continue;
      }
      this.#wake = undefined;
      await new Promise<void>((resolve, reject) => {
        const abort = () => reject(signal?.reason);
        this.#wake = () => {
          signal?.removeEventListener('abort', abort);
          resolve();
        };
        signal?.addEventListener('abort', abort, { once: true });
        for (const asked of this.#asked.splice(0)) asked();
      });
    }
  }

  noticesFor(): readonly string[] {
    return this.notices;
  }

  async latestFrame(): Promise<Frame> {
    if (this.latest instanceof SdkError) throw this.latest;
    return this.latest;
  }
}

export async function fakeConfig(input: Partial<DeviceConfigInput> = {}): Promise<DeviceConfig> {
  const complete = {
    version: 1,
    device: 'fake',
    model: { directory: 'none' },
    cameras: [{ id: 'cam', address: 'test:moving' }],
    ...input,
  } satisfies DeviceConfigInput;
  return parseConfig(complete, { file: 'the test', folder: '/', environment: {} });
}

export interface FakeContext extends FeatureContext {
  readonly feeds: readonly FakeFeed[];
  /** What was emitted, in order. */
  readonly events: AnyDeviceEvent[];
  /** Moves both clocks. */
  advance(ms: number): void;
  /** Sets the wall clock, by so much. */
  setWall(ms: number): void;
  next<Kind extends EventKind>(kind: Kind, count?: number): Promise<Extract<AnyDeviceEvent, { kind: Kind }>>;
}

const KINDS: readonly EventKind[] = [
  'frame',
  'scene',
  'answer',
  'watch',
  'watchState',
  'watches',
  'setting',
  'status',
  'problem',
  'health',
  'info',
];

export async function fakeContext(
  model: VisionLanguageModel | SdkError,
  input: Partial<DeviceConfigInput> = {},
): Promise<FakeContext> {
  const config = await fakeConfig(input);
  const hub = new EventHub({ run: 'run' });
  const problems = new Problems(hub);
  const events: AnyDeviceEvent[] = [];
  const waiters = new Set<() => void>();
  for (const kind of KINDS) {
    hub.on(kind, (event) => {
      events.push(event as AnyDeviceEvent);
      for (const wake of waiters) wake();
    });
  }
  let nowMs = 0;
  let setMs = 0;
  // A Wednesday, local time.
  const day = new Date(2026, 10, 25, 12, 0).getTime();
  return {
    config,
    hub,
    events,
    feeds: config.cameras.map((camera) => new FakeFeed(camera)),
    problems,
    tracks: new CameraTracks(),
    places: new CameraPlaces(problems),
    logger: silentLogger,
    monotonicMs: () => nowMs,
    now: () => new Date(day + nowMs + setMs),
    advance: (ms) => {
      nowMs += ms;
    },
    setWall: (ms) => {
      setMs += ms;
    },
    model: {
      info: model instanceof SdkError ? undefined : model.info,
      use: async (work) => {
        if (model instanceof SdkError) throw model;
        return work(model);
      },
    },
    async next(kind, count = 1) {
      for (;;) {
        const found = events.filter((event) => event.kind === kind)[count - 1];
        if (found !== undefined) return found as Extract<AnyDeviceEvent, { kind: typeof kind }>;
        await new Promise<void>((resolve) => {
          const wake = () => {
            waiters.delete(wake);
            resolve();
          };
          waiters.add(wake);
        });
      }
    },
  };
}

/** A camera whose state and frames are set from outside. */
export class FakeCamera implements Camera {
  readonly info = {
    id: 'cam',
    address: 'fake',
    kind: 'test' as const,
    size: { width: 64, height: 48 },
    framesPerSecond: 30,
    backend: 'fake',
  };
  status: Camera['status'] = { state: 'opening', sinceMs: 0 };
  newest: Frame | undefined;
  reads = 0;
  lastRead: ReadOptions | undefined;
  #changes: (() => void)[] = [];
  #isClosed = false;

  get newestFrameAtMs(): number | undefined {
    return this.newest?.capturedAtMs;
  }

  get newestFrameAtMonotonicMs(): number | undefined {
    return this.newest?.capturedAtMonotonicMs;
  }

  get newestSequence(): number {
    return this.newest?.sequence ?? 0;
  }

  set(state: CameraState, error?: SdkError): void {
    this.status = { state, sinceMs: 0, error };
    for (const change of this.#changes.splice(0)) change();
  }

  async read(options?: ReadOptions): Promise<Frame> {
    this.reads += 1;
    this.lastRead = options;
    if (this.status.state === 'ended') throw new SdkError('ERR_CAPTURE_ENDED', 'over');
    if (this.newest === undefined) throw new SdkError('ERR_CAPTURE_TIMEOUT', 'none');
    return this.newest;
  }

  async *frames(): AsyncGenerator<Frame> {
    if (this.newest !== undefined) yield this.newest;
  }

  async *statusChanges(): AsyncGenerator<Camera['status']> {
    for (;;) {
      const { status } = this;
      yield status;
      if (this.#isClosed) return;
      if (this.status === status) await new Promise<void>((resolve) => this.#changes.push(resolve));
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<Frame> {
    return this.frames();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.set('closed');
  }
}
