/** What one watch knows about one camera: when an answer counts, and what begins, changes and ends. */
import type { AnswerType, AnswerValue, WatchDefinition } from 'scenebus/bus';

export interface Found {
  readonly value: AnswerValue;
  /** 0–1; null: not measured. */
  readonly probability: number | null;
}

/** What is known, as it is kept over a restart. */
export interface FindingState {
  readonly value: AnswerValue | null;
  readonly probability: number | null;
  /** Unix time, milliseconds, when the value became this one. */
  readonly sinceMs: number;
  /** The event that lasts. */
  readonly event: { readonly id: string; readonly startedAtMs: number } | null;
}

/** A new value; with an event unless nothing lasted and nothing began. */
export interface Change {
  readonly previous: AnswerValue | null;
  readonly value: AnswerValue;
  readonly probability: number | null;
  readonly event:
    | { readonly type: 'new' | 'update' | 'end'; readonly id: string; readonly startedAtMs: number }
    | undefined;
}

export interface FindingClock {
  /** Milliseconds that never go back. */
  readonly monotonicMs: () => number;
  /** Unix time, milliseconds. */
  readonly wallMs: () => number;
}

export interface FindingOptions extends FindingClock {
  readonly createEventId: () => string;
  readonly state?: FindingState | undefined;
}

type Rules = Pick<WatchDefinition, 'answerType' | 'agree' | 'minProbability' | 'quietSeconds'>;

const DEFAULT_MIN_PROBABILITY = 0.5;
const UNKNOWN: FindingState = { value: null, probability: null, sinceMs: 0, event: null };

export class Finding {
  readonly #rules: Rules;
  readonly #options: FindingOptions;
  #state: FindingState;
  /** The last answers that were sure enough, oldest first. */
  #recent: AnswerValue[] = [];
  #isUnsettled = false;
  #isHeldBack = false;
  #lastEventAtMs = Number.NEGATIVE_INFINITY;

  constructor(rules: Rules, options: FindingOptions) {
    this.#rules = rules;
    this.#options = options;
    this.#state = options.state ?? UNKNOWN;
  }

  get state(): FindingState {
    return this.#state;
  }

  /** Whether to ask again although nothing has changed: the last answer is not decided on yet. */
  get isUnsettled(): boolean {
    return this.#isUnsettled && !(this.#isHeldBack && this.#isQuiet);
  }

  /** Takes an answer. @returns what has changed by it; undefined: nothing */
  take({ value, probability }: Found): Change | undefined {
    const { agree = { count: 1, of: 1 }, minProbability = DEFAULT_MIN_PROBABILITY } = this.#rules;
    // An unsure answer is none: it neither supports nor contradicts.
    if (probability !== null && probability < minProbability) return undefined;
    this.#recent = [...this.#recent, value].slice(-agree.of);
    const isAgreed = this.#recent.filter((each) => each === value).length >= agree.count;
    this.#isUnsettled = value !== this.#state.value;
    this.#isHeldBack = false;
    if (!this.#isUnsettled) {
      this.#state = { ...this.#state, probability };
      return undefined;
    }
    if (!isAgreed) return undefined;
    const type = this.#typeOf(value);
    if (type !== undefined && this.#isQuiet) {
      this.#isHeldBack = true;
      return undefined;
    }
    this.#isUnsettled = false;
    return this.#become(value, probability, type);
  }

  /** The watch ends here, for now or for good: so does its event, whose value stays what it was. */
  close(): Change | undefined {
    const { value, probability, event } = this.#state;
    this.#recent = [];
    this.#isUnsettled = false;
    this.#state = { ...UNKNOWN, sinceMs: this.#options.wallMs() };
    this.#lastEventAtMs = Number.NEGATIVE_INFINITY;
    if (event === null || value === null) return undefined;
    return { previous: value, value, probability, event: { type: 'end', ...event } };
  }

  get #isQuiet(): boolean {
    const { quietSeconds = 0 } = this.#rules;
    return this.#options.monotonicMs() - this.#lastEventAtMs < quietSeconds * 1000;
  }

  #typeOf(value: AnswerValue): 'new' | 'update' | 'end' | undefined {
    const isThere = isSomething(this.#rules.answerType, value);
    if (this.#state.event !== null) return isThere ? 'update' : 'end';
    return isThere ? 'new' : undefined;
  }

  #become(value: AnswerValue, probability: number | null, type: 'new' | 'update' | 'end' | undefined): Change {
    const nowMs = this.#options.wallMs();
    const previous = this.#state.value;
    const lasting = this.#state.event ?? { id: '', startedAtMs: nowMs };
    const event = type === 'new' ? { id: this.#options.createEventId(), startedAtMs: nowMs } : lasting;
    if (type !== undefined) this.#lastEventAtMs = this.#options.monotonicMs();
    const lasts = type === 'new' || type === 'update';
    this.#state = { value, probability, sinceMs: nowMs, event: lasts ? event : null };
    return { previous, value, probability, event: type === undefined ? undefined : { type, ...event } };
  }
}

/** An event lasts while there is something: a yes, a number above 0, any choice, any words. */
function isSomething(answerType: AnswerType, value: AnswerValue): boolean {
  if (answerType === 'yes-no') return value === true;
  if (answerType === 'number') return value !== 0;
  return value !== '';
}
