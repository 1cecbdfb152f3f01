/** The calibration of one camera's lens over its live picture: looks for the board in the newest frame until it is stopped. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isSdkError } from 'scenebus';
import {
  type CalibrationBoard,
  CalibrationSession,
  type LensKind,
  type SeenPicture,
} from '#calibration/camera/index.js';
import type { Feed } from '../../features/context.js';
import type { LensProgress } from '../api/calibration-schemas.js';

/** Between two looks: a person moves the board meanwhile, and the processor has other work too. */
const PAUSE_MS = 300;
/** Nobody asks any more: the page is gone. */
const ABANDONED_MS = 30_000;

export interface LensCalibrationOptions {
  readonly camera: string;
  readonly board: CalibrationBoard;
  readonly lens: LensKind;
  /** undefined: there is nothing to see at the moment. */
  readonly feed: () => Feed | undefined;
  /** Of the console. */
  readonly signal: AbortSignal;
}

export class LensCalibration implements AsyncDisposable {
  readonly camera: string;
  readonly session: CalibrationSession;
  readonly #feed: () => Feed | undefined;
  readonly #stop = new AbortController();
  readonly #loop: Promise<void>;
  #last: SeenPicture | undefined;
  #lastSize = { width: 1, height: 1 };
  #trouble: string | undefined;
  #askedAtMs = performance.now();
  #isEnded = false;

  /** @throws SdkError ERR_ARGUMENT_INVALID for a board that is none */
  constructor({ camera, board, lens, feed, signal }: LensCalibrationOptions) {
    this.camera = camera;
    this.session = new CalibrationSession({ board, lens });
    this.#feed = feed;
    const onAbort = (): void => this.#stop.abort();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    this.#loop = this.#look().finally(() => {
      this.#isEnded = true;
      signal.removeEventListener('abort', onAbort);
    });
  }

  /** false: it was stopped, or nobody asked for half a minute. What it has seen can still be solved. */
  get isLooking(): boolean {
    return !this.#isEnded;
  }

  progress(): LensProgress {
    this.#askedAtMs = performance.now();
    const { pictures, coverage, refused, guidance } = this.session.progress;
    const { width, height } = this.#lastSize;
    const points = this.#last?.points ?? [];
    return {
      isLooking: this.isLooking,
      pictures,
      views: coverage.views,
      rows: coverage.rows,
      columns: coverage.columns,
      corners: [...coverage.corners],
      covered: coverage.covered,
      tilted: coverage.tilted,
      isEnough: coverage.isEnough,
      guidance: this.#trouble ?? guidance,
      refused: { ...refused },
      taken: this.#last !== undefined && this.#last.refusal === undefined,
      points: Array.from({ length: points.length / 2 }, (_, i) => ({
        x: (points[2 * i]! + 0.5) / width,
        y: (points[2 * i + 1]! + 0.5) / height,
      })),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  async #look(): Promise<void> {
    const { signal } = this.#stop;
    let seen: string | undefined;
    while (!signal.aborted && performance.now() - this.#askedAtMs < ABANDONED_MS) {
      try {
        const frame = await this.#feed()?.latestFrame({ signal });
        this.#trouble = frame === undefined ? 'The camera shows nothing: its privacy is on, or it is gone.' : undefined;
        if (frame !== undefined && frame.id !== seen) {
          seen = frame.id;
          this.#last = await this.session.add(frame, frame.id, { signal });
          this.#lastSize = frame;
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#trouble = isSdkError(error) ? error.message : 'Looking for the board failed; see the log.';
        if (!isSdkError(error)) throw error;
      }
      await sleep(PAUSE_MS, undefined, { signal }).catch(() => {});
    }
  }
}
