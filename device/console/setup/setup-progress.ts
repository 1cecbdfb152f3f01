/** How far a device is set up: camera, model, broker, first question. Each step is done when it was seen to work. */
import { isSdkError } from 'scenebus';
import { z } from 'zod';
import { KeptFile } from '../../features/kept-file.js';
import { refusalOf } from '../../http/http-error.js';
import { SETUP_STEPS, type SetupStep, type SetupStepState } from '../api/setup-schemas.js';
import type { ConsoleDevice } from '../context.js';
import type { DeviceStateFollower } from '../device-state.js';

const keptSchema = z.strictObject({
  version: z.literal(1),
  done: z.array(z.enum(SETUP_STEPS)).max(SETUP_STEPS.length),
  isLeft: z.boolean(),
});
type Kept = z.infer<typeof keptSchema>;

/** A big model on a small machine takes its time for the first answer. */
const MODEL_LIMIT_MS = 120_000;
const CAMERA_LIMIT_MS = 15_000;
const FIRST_QUESTION = 'What is in the picture?';

export interface SetupProgressOptions {
  readonly device: ConsoleDevice;
  readonly state: DeviceStateFollower;
  readonly signal: AbortSignal;
}

export class SetupProgress implements AsyncDisposable {
  readonly #options: SetupProgressOptions;
  readonly #file: KeptFile<Kept>;
  readonly #stops: readonly (() => void)[];
  #kept: Kept;

  private constructor(options: SetupProgressOptions, file: KeptFile<Kept>, kept: Kept) {
    const { hub } = options.device;
    this.#options = options;
    this.#file = file;
    this.#kept = kept;
    this.#stops = [
      // A picture may have come from a camera that stalls since: only one that delivers now counts.
      hub.on('status', ({ body: { state } }) => {
        if (state === 'running') this.#done('camera');
      }),
      hub.on('scene', () => this.#done('model')),
      hub.on('answer', ({ body: { error, answer } }) => {
        if (error === null && answer !== null) this.#done('model', 'question');
      }),
    ];
  }

  static async open(options: SetupProgressOptions): Promise<SetupProgress> {
    const { setupFile, logger } = options.device;
    const file = new KeptFile({ file: setupFile, schema: keptSchema, logger });
    const kept = (await file.read()) ?? { version: 1, done: [], isLeft: false };
    return new SetupProgress(options, file, kept);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops) stop();
    await this.#file[Symbol.asyncDispose]();
  }

  get isLeft(): boolean {
    return this.#kept.isLeft;
  }

  /** For later, or on again. */
  async setLeft(isLeft: boolean): Promise<void> {
    this.#kept = { ...this.#kept, isLeft };
    await this.#file.write(this.#kept);
  }

  get steps(): SetupStepState[] {
    const { device, state } = this.#options;
    const { lamps } = state.now(device);
    return SETUP_STEPS.map((id) => {
      const isDone = this.#kept.done.includes(id);
      if (id === 'question')
        return isDone
          ? { id, isDone, reason: 'A question was answered.', remedy: null }
          : {
              id,
              isDone,
              reason: 'No question was answered yet.',
              remedy: 'Ask one; the answer comes with boxes where the model draws them.',
            };
      const { reason, remedy } = lamps[id];
      return { id, isDone, reason, remedy };
    });
  }

  /** Tries it for real. What fails is no error but the answer: why, and what to do. */
  async check(step: Exclude<SetupStep, 'question'>): Promise<SetupStepState> {
    try {
      const reason = await this.#try(step);
      this.#done(step);
      return { id: step, isDone: true, reason, remedy: null };
    } catch (error) {
      if (this.#options.signal.aborted) throw error;
      const words = error instanceof Failure ? error : undefined;
      const lamp = this.#options.state.now(this.#options.device).lamps[step];
      const reason = words?.message ?? refusalOf(error)?.message ?? 'It failed for a reason that the log names.';
      if (words === undefined && !isSdkError(error))
        this.#options.device.logger.log('error', `the check of the ${step} failed`, { error });
      return { id: step, isDone: false, reason, remedy: words?.remedy ?? lamp.remedy ?? REMEDIES[step] };
    }
  }

  async #try(step: Exclude<SetupStep, 'question'>): Promise<string> {
    const { device, signal } = this.#options;
    if (step === 'broker') {
      const { roundTripMs } = await device.checkBroker(signal);
      return `A request went over the broker ${device.broker().address} to this device and back in ${Math.round(roundTripMs)} ms.`;
    }
    const { feed, frame } = await this.#picture();
    if (step === 'camera') {
      const levels = contrast(frame.data);
      if (levels < MIN_LEVELS)
        throw new Failure(
          `Camera ${feed} delivers a picture of one colour.`,
          'Take the cap off its lens, switch on the light, or look whether its privacy masks cover everything.',
        );
      return `Camera ${feed} delivers pictures of ${frame.width} × ${frame.height}.`;
    }
    const access = device.model();
    if (access === undefined)
      throw new Failure('The model is still being loaded.', 'Wait: the first start of a big model takes minutes.');
    const limit = limited(signal, MODEL_LIMIT_MS);
    try {
      const startedAtMs = performance.now();
      const { text } = await access.use(
        (model) => model.ask(frame, FIRST_QUESTION, { signal: limit.signal }),
        limit.signal,
      );
      if (text.trim() === '')
        throw new Failure(
          'The model answers with nothing.',
          'Its folder may be damaged: `scenebus doctor` looks at it.',
        );
      const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
      return `The model answered in ${seconds} s: ${text}`;
    } finally {
      limit.end();
    }
  }

  /** Of the first camera that has one. */
  async #picture() {
    const { device, state, signal } = this.#options;
    const feeds = device.feeds();
    if (feeds.length === 0) throw new Failure('The cameras are still being opened.', 'Wait a few seconds.');
    const visible = feeds.filter(({ id }) => !state.isPrivate(id));
    if (visible.length === 0)
      throw new Failure('The privacy of every camera is on.', 'Switch it off over the bus, if you may.');
    const limit = limited(signal, CAMERA_LIMIT_MS);
    try {
      let failure: unknown;
      for (const feed of visible) {
        try {
          return { feed: feed.id, frame: await feed.latestFrame({ signal: limit.signal }) };
        } catch (error) {
          failure ??= error;
        }
      }
      signal.throwIfAborted();
      throw limit.signal.aborted ? new Failure('No picture came in 15 seconds.', REMEDIES.camera) : failure;
    } finally {
      limit.end();
    }
  }

  #done(...steps: readonly SetupStep[]): void {
    const done = new Set([...this.#kept.done, ...steps]);
    if (done.size === this.#kept.done.length) return;
    this.#kept = { ...this.#kept, done: SETUP_STEPS.filter((id) => done.has(id)) };
    void this.#file.write(this.#kept);
  }
}

const REMEDIES: Readonly<Record<Exclude<SetupStep, 'question'>, string>> = {
  camera: 'Choose another camera below; check its cable and power, and that no other program uses it.',
  model: 'Read the log under Health. The folder of the model is named in the configuration file.',
  broker: 'Check that the broker runs, its address and the network. Its address is under Settings.',
};

/** Grey levels between the darkest and the brightest of a picture that shows something. */
const MIN_LEVELS = 8;

function contrast(pixels: Uint8Array): number {
  let [low, high] = [255, 0];
  // Every 97th value: a prime, so that it falls on all three colours.
  for (let index = 0; index < pixels.length; index += 97) {
    const value = pixels[index]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return high - low;
}

class Failure extends Error {
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.remedy = remedy;
  }
}

function limited(signal: AbortSignal, limitMs: number) {
  const limit = new AbortController();
  const onAbort = (): void => limit.abort(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => limit.abort(new Error('too long')), limitMs);
  return {
    signal: limit.signal,
    end: () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    },
  };
}
