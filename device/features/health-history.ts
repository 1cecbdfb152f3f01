/** Samples of how the device is, for charts over days: more often than `health` is told, and with what answers took. */

import type { FeatureContext } from './context.js';
import type { HealthSources } from './health.js';
import { readMemory } from './health.js';

const SAMPLE_EVERY_MS = 10_000;

export interface HealthHistoryOptions {
  /** Takes a sample; see `Journal.recordHealth`. */
  readonly keep: (sample: {
    readonly atMs: number;
    readonly run: string;
    readonly metrics: Readonly<Record<string, number>>;
  }) => void;
  readonly everyMs?: number | undefined;
}

type HistoryContext = Pick<FeatureContext, 'feeds' | 'hub' | 'problems' | 'monotonicMs' | 'now'>;

/** Of what was written since the last sample. */
interface Spent {
  answers: number;
  totalMs: number;
  firstTokenMs: number;
  tokens: number;
  decodeMs: number;
}

const NOTHING: Readonly<Spent> = { answers: 0, totalMs: 0, firstTokenMs: 0, tokens: 0, decodeMs: 0 };

/** Runs until it is disposed; a last sample is taken then. */
export class HealthHistory implements AsyncDisposable {
  readonly #context: HistoryContext;
  readonly #sources: Pick<HealthSources, 'metrics' | 'telemetry'>;
  readonly #options: HealthHistoryOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #stops: readonly (() => void)[];
  /** By camera: frames that it had produced at the last sample. */
  #captured = new Map<string, number>();
  #sampledAtMs: number;
  #spent: Spent = { ...NOTHING };
  #sampling: Promise<void> = Promise.resolve();

  constructor(
    context: HistoryContext,
    sources: Pick<HealthSources, 'metrics' | 'telemetry'>,
    options: HealthHistoryOptions,
  ) {
    this.#context = context;
    this.#sources = sources;
    this.#options = options;
    this.#sampledAtMs = context.monotonicMs();
    this.#timer = setInterval(() => this.sampleSoon(), options.everyMs ?? SAMPLE_EVERY_MS);
    this.#timer.unref();
    this.#stops = [
      context.hub.on('scene', ({ body }) => this.#note(body.answer)),
      context.hub.on('answer', ({ body }) => this.#note(body.answer)),
    ];
  }

  /** Resolves when it is taken. */
  sampleSoon(): Promise<void> {
    this.#sampling = this.#sampling.then(() => this.#sample());
    return this.#sampling;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    for (const stop of this.#stops) stop();
    await this.sampleSoon();
  }

  async #sample(): Promise<void> {
    const { hub, problems, now } = this.#context;
    const telemetry = await this.#sources.telemetry?.();
    const memory = await readMemory();
    const metrics = {
      ...this.#sources.metrics(),
      ...telemetry,
      ...memory,
      ...this.#rates(),
      ...this.#durations(),
      problems: problems.list.length,
    };
    this.#options.keep({ atMs: now().getTime(), run: hub.run, metrics });
  }

  /** As measured: what a source declares is not what arrives. */
  #rates(): Record<string, number> {
    const nowMs = this.#context.monotonicMs();
    const seconds = (nowMs - this.#sampledAtMs) / 1000;
    this.#sampledAtMs = nowMs;
    const before = this.#captured;
    this.#captured = new Map(this.#context.feeds.map(({ id, source }) => [id, source.newestSequence]));
    const rates: Record<string, number> = {};
    for (const [id, count] of this.#captured) {
      const known = before.get(id);
      // A camera that was replaced counts from the beginning.
      if (known === undefined || count < known || seconds <= 0) continue;
      rates[`framesPerSecond ${id}`] = (count - known) / seconds;
    }
    return rates;
  }

  #durations(): Record<string, number> {
    const { answers, totalMs, firstTokenMs, tokens, decodeMs } = this.#spent;
    this.#spent = { ...NOTHING };
    if (answers === 0) return {};
    return {
      answerMs: totalMs / answers,
      firstTokenMs: firstTokenMs / answers,
      ...(decodeMs > 0 && tokens > 0 ? { tokensPerSecond: (1000 * tokens) / decodeMs } : {}),
    };
  }

  #note(answer: { readonly usage?: object | undefined; readonly timings?: object | undefined } | null): void {
    const timings = answer?.timings as Readonly<Record<string, number>> | undefined;
    if (timings?.totalMs === undefined) return;
    const { generatedTokens = 0 } = (answer?.usage ?? {}) as Readonly<Record<string, number>>;
    this.#spent.answers += 1;
    this.#spent.totalMs += timings.totalMs;
    this.#spent.firstTokenMs += timings.timeToFirstTokenMs ?? 0;
    this.#spent.tokens += generatedTokens;
    this.#spent.decodeMs += timings.decodeMs ?? 0;
  }
}
