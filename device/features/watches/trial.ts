/** A watch tried on pictures that were kept, before it is switched on: what would it have found? */
import { ChangeGate, type ChangeGateOptions, type Frame } from 'scenebus';
import type { AnswerValue, WatchDefinition } from 'scenebus/bus';
import type { ModelAccess } from '../context.js';
import { isWithin } from '../schedule.js';
import { isDue } from './due.js';
import { Finding } from './finding.js';
import { look } from './look.js';

export interface KeptPicture {
  /** Unix time of capture, milliseconds. Pictures come in this order. */
  readonly atMs: number;
  /** undefined: it is gone meanwhile. */
  load(): Promise<Frame | undefined>;
}

export interface TrialOptions {
  readonly watch: WatchDefinition;
  readonly pictures: readonly KeptPicture[];
  /** What counts as a change of the scene, as at this camera. */
  readonly change: ChangeGateOptions;
  readonly model: Pick<ModelAccess, 'use'>;
  readonly caller: string;
  readonly signal: AbortSignal;
}

/** What one picture brought. */
export interface TrialLook {
  /** Of the picture. */
  readonly index: number;
  /** What the model said; null: it was not asked about this picture. */
  readonly answer: AnswerValue | null;
  readonly probability: number | null;
  /** What counts after it. */
  readonly value: AnswerValue | null;
  readonly isLasting: boolean;
  readonly event: 'new' | 'update' | 'end' | null;
}

/**
 * The way of a live watch — its hours, its interval or the change gate, the model's decision, its hysteresis — with the
 * pictures' own times for a clock. Gives way to everything else that wants the model. Nobody is told of what it finds.
 * @throws SdkError ERR_ENGINE_*, ERR_BUSY; `signal.reason` when aborted
 */
export async function* replay({
  watch,
  pictures,
  change,
  model,
  caller,
  signal,
}: TrialOptions): AsyncGenerator<TrialLook> {
  let nowMs = 0;
  let events = 0;
  const clock = () => nowMs;
  const finding = new Finding(watch, { monotonicMs: clock, wallMs: clock, createEventId: () => String(++events) });
  const gate = new ChangeGate(change);
  let isActive = false;
  let isStale = true;
  let askedAtMs: number | undefined;
  const seen = (index: number, part: Partial<TrialLook>): TrialLook => {
    const { value, event } = finding.state;
    return { index, answer: null, probability: null, event: null, value, isLasting: event !== null, ...part };
  };
  for (const [index, picture] of pictures.entries()) {
    signal.throwIfAborted();
    nowMs = picture.atMs;
    if (!isWithin(watch.schedule, new Date(nowMs))) {
      const ended = isActive ? finding.close() : undefined;
      isActive = false;
      askedAtMs = undefined;
      yield seen(index, { event: ended?.event?.type ?? null });
      continue;
    }
    if (!isActive) isStale = true;
    isActive = true;
    const frame = await picture.load();
    if (frame !== undefined && watch.intervalSeconds === undefined && gate.update(frame).changed) isStale = true;
    if (frame === undefined || !isDue(watch, { isStale, isUnsettled: finding.isUnsettled, askedAtMs }, nowMs)) {
      yield seen(index, {});
      continue;
    }
    askedAtMs = nowMs;
    const call = { caller, signal, priority: 'description' } as const;
    const found = await model.use((loaded) => look(loaded, frame, watch, call), signal);
    isStale = false;
    const taken = finding.take(found);
    yield seen(index, {
      answer: found.value,
      probability: found.probability,
      event: taken?.event?.type ?? null,
    });
  }
}
