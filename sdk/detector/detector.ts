/** A detector in a process of its own: opened, tested with its own picture, asked, started again when it died. */
import { join } from 'node:path';
import { SupervisedChild } from '../child/index.js';
import { deserializeError, SdkError } from '../core/errors.js';
import type { PixelImage } from '../core/image.js';
import type { CallOptions } from '../core/types.js';
import { clampBox, intersectionOverUnion } from '../geometry/box.js';
import { scaleScore } from '../grounding/index.js';
import { decodeImage } from '../image/index.js';
import { type Detection, decodeDetections, type OutputTensor } from './decode.js';
import { type DetectorManifest, readDetectorManifest } from './manifest.js';
import { fromInput, placementOf, toInput } from './preprocess.js';
import type { FromDetector, ToDetector } from './protocol.js';

const ENTRY = new URL('./main.js', import.meta.url);
/** Runs block the process; one of a large detector on a small processor takes seconds. */
const HANG_MS = 60_000;
const GRACE_MS = 2_000;
/** Of callers that wait for the process. */
const MOST_WAITING = 16;

interface Waiting {
  readonly resolve: (outputs: Readonly<Record<string, OutputTensor>>) => void;
  readonly reject: (error: unknown) => void;
}

/** One run of the process: what waits on it ends with it. */
class DetectorProcess {
  isLost = false;
  readonly #child: SupervisedChild;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;

  constructor() {
    this.#child = new SupervisedChild({
      entry: ENTRY,
      name: 'detector process',
      hangMs: HANG_MS,
      onLine: () => {},
      onMessage: (message) => this.#receive(message as FromDetector),
      onLost: (error) => this.#lose(error),
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  request(
    message: Omit<ToDetector & { readonly type: 'open' }, 'id'> | Omit<ToDetector & { readonly type: 'run' }, 'id'>,
  ): Promise<Readonly<Record<string, OutputTensor>>> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.ref();
      this.#child.send({ ...message, id });
    });
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  async stop(): Promise<void> {
    this.#lose(new SdkError('ERR_DISPOSED', 'The detector was closed during the call.'));
    await this.#child.stop({ type: 'end' } satisfies ToDetector, GRACE_MS);
  }

  #receive(message: FromDetector): void {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (this.#waiting.size === 0) this.#child.unref();
    if ('error' in message) waiting?.reject(deserializeError(message.error));
    else waiting?.resolve(message.outputs);
  }

  #lose(error: SdkError): void {
    this.isLost = true;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

interface OpenOptions extends CallOptions {
  readonly threads: number;
  readonly scores: 'calibrated' | 'raw';
}

/** An ONNX detector that has found in its own picture what is in it. */
export class Detector implements AsyncDisposable {
  readonly manifest: DetectorManifest;
  readonly #directory: string;
  readonly #threads: number;
  readonly #scaling: DetectorManifest['scores'];
  #process: DetectorProcess | undefined;
  #opening: Promise<DetectorProcess> | undefined;
  #isDisposed = false;

  private constructor(directory: string, manifest: DetectorManifest, { threads, scores }: OpenOptions) {
    this.#directory = directory;
    this.manifest = manifest;
    this.#threads = threads;
    this.#scaling = scores === 'raw' ? undefined : manifest.scores;
  }

  /** @throws SdkError as `readDetectorManifest`; ERR_MODEL_INVALID, ERR_ENGINE_* when it cannot be run or the self-test fails */
  static async open(directory: string, options: OpenOptions): Promise<Detector> {
    const { signal } = options;
    const manifest = await readDetectorManifest(directory);
    signal?.throwIfAborted();
    const detector = new Detector(directory, manifest, options);
    try {
      await detector.#running();
      signal?.throwIfAborted();
      return detector;
    } catch (error) {
      await detector[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Of the process, while there is one. */
  get pid(): number | undefined {
    return this.#process?.isLost === false ? this.#process.pid : undefined;
  }

  /**
   * Boxes within the picture, in fractions of it, the surest first. What lies outside the picture is cut off or left out.
   * @throws SdkError ERR_BUSY, ERR_ENGINE_DIED (the next call starts the process again), ERR_ENGINE_FAILED, ERR_DISPOSED
   */
  async detect(image: PixelImage, { signal }: CallOptions = {}): Promise<Detection[]> {
    signal?.throwIfAborted();
    const running = await this.#running();
    signal?.throwIfAborted();
    if (running.waiting >= MOST_WAITING) {
      const message = `Expected at most ${MOST_WAITING} pictures to wait for the detector; ask again later.`;
      throw new SdkError('ERR_BUSY', message, { details: { waiting: running.waiting, retryAfterMs: 1000 } });
    }
    const found = await this.#detect(running, image);
    signal?.throwIfAborted();
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    await this.#opening?.catch(() => {});
    await this.#process?.stop();
  }

  #running(): Promise<DetectorProcess> {
    if (this.#isDisposed) throw new SdkError('ERR_DISPOSED', 'The detector is closed; open another one.');
    if (this.#opening === undefined || this.#process?.isLost !== false) {
      const opening = this.#start();
      this.#opening = opening;
      opening.catch(() => {
        if (this.#opening === opening) this.#opening = undefined;
      });
    }
    return this.#opening;
  }

  async #start(): Promise<DetectorProcess> {
    const started = new DetectorProcess();
    this.#process = started;
    try {
      await started.request({
        type: 'open',
        model: join(this.#directory, this.manifest.model),
        threads: this.#threads,
      });
      await this.#test(started);
      return started;
    } catch (error) {
      await started.stop();
      throw error;
    }
  }

  async #detect(running: DetectorProcess, image: PixelImage): Promise<Detection[]> {
    const { input, output } = this.manifest;
    const placement = placementOf(image.width, image.height, input);
    const outputs = await running.request({
      type: 'run',
      input: input.tensor,
      dims: [1, 3, input.height, input.width],
      data: toInput(image, input, placement),
      outputs: output.layout === 'detr' ? [output.scores, output.boxes] : [output.tensor],
    });
    return decodeDetections(outputs, this.manifest).flatMap(({ label, score, box }) => {
      const inside = clampBox(fromInput(box, input, placement));
      return inside === undefined ? [] : [{ label, score: scaleScore(score, this.#scaling), box: inside }];
    });
  }

  /** Detectors go wrong without a word: a runtime's operator, a swapped channel, a label list of another version. */
  async #test(running: DetectorProcess): Promise<void> {
    const { picture, minIou, objects } = this.manifest.selfTest;
    const found = await this.#detect(running, await decodeImage(join(this.#directory, picture)));
    for (const { label, box } of objects) {
      const [x1, y1, x2, y2] = box;
      const own = found.filter((each) => each.label === label);
      const best = Math.max(0, ...own.map((each) => intersectionOverUnion(each.box, { x1, y1, x2, y2 })));
      if (best >= minIou) continue;
      const seen = found.map((each) => `${each.label} ${each.score.toFixed(2)}`).join(', ') || 'nothing';
      throw new SdkError(
        'ERR_MODEL_INVALID',
        `Expected the detector to find "${label}" in its own picture ${picture} with an IoU of at least ${minIou}, but the best is ${best.toFixed(2)}; it found: ${seen}. Check size, channels, normalisation, resize, labels and box in detector.json; if it was exported anew, record the self-test anew.`,
        { details: { label, bestIou: best, minIou, found: found.slice(0, 20) } },
      );
    }
  }
}
