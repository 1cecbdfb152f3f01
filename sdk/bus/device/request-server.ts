/** Requests from strangers: decoded, checked, given to a handler with a deadline, answered. Never throws. */
import { createHash } from 'node:crypto';
import { isSdkError, SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import type { Logger } from '../../core/logger.js';
import { decodeRequest, describeIssues } from '../contract/decoding.js';
import { REQUEST_TIMEOUT_MS } from '../contract/schemas/index.js';
import { type BusTopics, parseTopic } from '../contract/topics.js';
import { isVerbName, type RequestOf, VERB_NAMES, VERBS, type VerbName } from '../contract/verbs.js';
import type { IncomingMessage } from '../transport/link.js';
import { type ClientLimitOptions, ClientLimits } from './client-limits.js';
import { PartialSender } from './partial-sender.js';
import { RecentRequests } from './recent-requests.js';
import { type GroupMark, peekTransaction, type Route, routeOf } from './routes.js';
import { encodeResult, type VerbHandler } from './verb-results.js';

/** The body of a response, and where it goes. */
export type Reply = {
  readonly verb: string;
  readonly route: Route;
  /** What is answered, once a handler had it; refused requests have none. */
  readonly request?: object | undefined;
} & (
  | { readonly fields: object }
  | { readonly error: SdkError }
  | { readonly partial: { readonly index: number; readonly text: string } }
  | { readonly accepted: true }
);

/** A request that is being answered. */
export interface TakenRequest {
  /** Ends it without an answer: somebody else gives one. */
  cancel(): void;
}

export interface RequestServerOptions {
  readonly topics: BusTopics;
  readonly responseTopics: readonly string[];
  readonly defaultTimeoutMs: number;
  readonly clientLimits: ClientLimitOptions;
  /** Requests of all callers that are not answered yet. */
  readonly maxUnanswered: number;
  /** Sends an answer. For a result that does not fit the schema it throws, and an error goes out instead. */
  readonly reply: (reply: Reply) => Promise<unknown>;
  /** Called when `active` or `isReady` may have changed. */
  readonly onLoad?: (() => void) | undefined;
  readonly logger: Logger;
  /** Unix time, milliseconds. */
  readonly now: () => number;
  /** Milliseconds of a clock that only goes forward. */
  readonly monotonicNow: () => number;
}

type Handlers = { [Verb in VerbName]?: VerbHandler<Verb> | undefined };
type RefusalCode = 'ERR_REQUEST_INVALID' | 'ERR_REQUEST_TOO_LARGE' | 'ERR_REQUEST_UNSUPPORTED';

/** Verbs that every device answers sooner or later: without a handler it is not ready. */
const PROMISED: readonly VerbName[] = ['ask'];
const LOG_EVERY_MS = 10_000;
const CALLER_MAX_CHARACTERS = 128;
const NOT_READY_RETRY_MS = 5_000;
const BUSY_RETRY_MS = 1_000;

export class RequestServer {
  readonly counters = {
    received: 0,
    answered: 0,
    failed: 0,
    refused: 0,
    expired: 0,
    busy: 0,
    duplicate: 0,
    responseTopicsRefused: 0,
  };
  readonly #options: RequestServerOptions;
  #defaultTimeoutMs: number;
  readonly #handlers: Handlers = {};
  readonly #known = new Set<VerbName>(PROMISED);
  readonly #limits: ClientLimits;
  readonly #recent: RecentRequests;
  readonly #active = new Set<AbortController>();
  #lastRefusalLogMs = Number.NEGATIVE_INFINITY;
  #unloggedRefusals = 0;

  constructor(options: RequestServerOptions) {
    this.#options = options;
    this.#defaultTimeoutMs = options.defaultTimeoutMs;
    this.#limits = new ClientLimits(options.clientLimits, options.maxUnanswered, options.monotonicNow);
    this.#recent = new RecentRequests(options.monotonicNow);
  }

  get active(): number {
    return this.#limits.unanswered;
  }

  /** Whether there is somebody to answer questions. */
  get isReady(): boolean {
    return PROMISED.every((verb) => this.#handlers[verb] !== undefined);
  }

  /** Of one caller, in the long run. */
  get requestsPerSecond(): number {
    return this.#limits.requestsPerSecond;
  }

  /** For requests from now on. */
  setLimits(limits: { readonly defaultTimeoutMs: number; readonly clientLimits: ClientLimitOptions }): void {
    this.#defaultTimeoutMs = limits.defaultTimeoutMs;
    this.#limits.change(limits.clientLimits);
  }

  /** Verbs that are answered, now or when the device is ready. */
  get verbs(): readonly VerbName[] {
    return VERB_NAMES.filter((verb) => this.#known.has(verb));
  }

  /** One handler for each verb. Returns a function that takes it away; until there is another, callers get ERR_BUSY. */
  handle<Verb extends VerbName>(verb: Verb, handler: VerbHandler<Verb>): () => void {
    const handlers: { [V in Verb]?: VerbHandler<V> | undefined } = this.#handlers;
    handlers[verb] = handler;
    this.#known.add(verb);
    this.#options.onLoad?.();
    return () => {
      if (handlers[verb] === handler) handlers[verb] = undefined;
      this.#options.onLoad?.();
    };
  }

  /** Takes every handler away and aborts everything that runs; each gets an answer with `reason`. */
  stop(reason: SdkError): void {
    for (const verb of VERB_NAMES) delete this.#handlers[verb];
    for (const controller of this.#active) controller.abort(reason);
  }

  /** A request to this device. */
  receive(message: IncomingMessage): void {
    const parsed = parseTopic(this.#options.topics.root, message.topic);
    if (parsed?.kind === 'request') this.take(message, parsed.verb, undefined);
  }

  /**
   * A request to this device, or one to a group that this device takes.
   * @returns undefined when it is refused or known already
   */
  take(message: IncomingMessage, verb: string, group: GroupMark | undefined): TakenRequest | undefined {
    const { topics, responseTopics } = this.#options;
    // Deleting a retained message is an empty payload with the retain flag: not a request.
    if (message.payload.length === 0 && message.retain) return;
    this.counters.received += 1;
    const { route: found, problem } = routeOf(message, verb, topics, responseTopics);
    const route = { ...found, group };
    if (message.payload.length > LIMITS.busRequestBytes) {
      this.#refuse(verb, { ...route, transaction: peekTransaction(message.payload) }, 'ERR_REQUEST_TOO_LARGE', [
        `Expected a request of at most ${LIMITS.busRequestBytes} bytes, but received ${message.payload.length}`,
        'send a shorter question',
      ]);
      return;
    }
    const decoded = decodeRequest(message.payload);
    const body = decoded.ok ? routeOf(message, verb, topics, responseTopics, decoded.value) : { route, problem };
    const withBody = { route: { ...body.route, group }, problem: body.problem };
    if (withBody.problem !== undefined) {
      this.counters.responseTopicsRefused += 1;
      this.#refuse(verb, withBody.route, 'ERR_REQUEST_INVALID', [
        `The response topic is refused: ${withBody.problem}`,
        'this answer went to the default topic instead',
      ]);
      return;
    }
    if (message.retain) {
      this.#refuse(verb, withBody.route, 'ERR_REQUEST_INVALID', [
        'Expected a request that is not retained: a retained one would run again after every reconnect',
        'publish it without the retain flag and clear the retained message',
      ]);
      return;
    }
    if (!decoded.ok) {
      this.#refuse(verb, withBody.route, 'ERR_REQUEST_INVALID', [decoded.problem, 'send a JSON object in UTF-8']);
      return;
    }
    if (!isVerbName(verb)) {
      this.#refuse(verb, withBody.route, 'ERR_REQUEST_INVALID', [
        `Expected one of the verbs ${this.verbs.join(', ')}, but received ${JSON.stringify(verb)}`,
        'see the verbs in the info topic',
      ]);
      return;
    }
    return this.#dispatch(verb, withBody.route, decoded.value, message);
  }

  #dispatch<Verb extends VerbName>(
    verb: Verb,
    route: Route,
    body: unknown,
    message: IncomingMessage,
  ): TakenRequest | undefined {
    if (!this.#known.has(verb)) {
      this.#refuse(verb, route, 'ERR_REQUEST_UNSUPPORTED', [
        `This device does not answer ${verb}, only ${this.verbs.join(', ')}`,
        'see the verbs in the info topic',
      ]);
      return;
    }
    const parsed = VERBS[verb].request.safeParse(body);
    if (!parsed.success) {
      this.#refuse(verb, route, 'ERR_REQUEST_INVALID', [
        `The request does not fit its schema: ${describeIssues(parsed.error)}`,
        'correct the named fields',
      ]);
      return;
    }
    const request = parsed.data as RequestOf<Verb>;
    const wish = 'group' in request ? request.group : undefined;
    if (wish !== undefined && route.group === undefined) {
      this.#refuse(verb, route, 'ERR_REQUEST_INVALID', [
        'Expected no field group in a request to one device',
        'leave it out, or publish the request on the topic of the group',
      ]);
      return;
    }
    const timeoutMs = this.#timeoutMs(request, message);
    if (timeoutMs <= 0) {
      this.counters.expired += 1;
      const late = `Expected a deadlineMs in the future, but it was ${-timeoutMs} ms ago by this device's clock, so the request has expired.`;
      this.#fail(verb, route, new SdkError('ERR_REQUEST_EXPIRED', late));
      return;
    }
    const markAnswered = this.#recent.begin(message, route);
    if (markAnswered === undefined) {
      this.counters.duplicate += 1;
      return;
    }
    const handlers: { [V in Verb]?: VerbHandler<V> | undefined } = this.#handlers;
    const handler = handlers[verb];
    let release: () => void;
    try {
      if (handler === undefined) {
        const notReady = `Expected the device to be ready to answer ${verb}, but it is still starting: its model may take minutes to load. Try again in ${NOT_READY_RETRY_MS} ms; its health topic says how it is.`;
        throw new SdkError('ERR_BUSY', notReady, { details: { retryAfterMs: NOT_READY_RETRY_MS } });
      }
      release = this.#limits.take(route.topic);
    } catch (error) {
      this.counters.busy += 1;
      markAnswered();
      this.#fail(verb, route, error as SdkError);
      return;
    }
    if (wish?.attempt !== undefined) this.#send({ verb, route, accepted: true });
    const cancelled = new AbortController();
    void this.#run({ verb, route, request, handler, timeoutMs, cancelled: cancelled.signal }).finally(() => {
      // Only now: a handler that ignores its signal still uses the engine, so its place stays taken.
      release();
      markAnswered();
      this.#options.onLoad?.();
    });
    this.#options.onLoad?.();
    return { cancel: () => cancelled.abort() };
  }

  async #run<Verb extends VerbName>(job: {
    readonly verb: Verb;
    readonly route: Route;
    readonly request: RequestOf<Verb>;
    readonly handler: VerbHandler<Verb>;
    readonly timeoutMs: number;
    /** Aborted: nobody is to hear anything of it any more. */
    readonly cancelled: AbortSignal;
  }): Promise<void> {
    const { verb, route, request, handler, timeoutMs, cancelled } = job;
    const deadlineMs = this.#options.now() + timeoutMs;
    const controller = new AbortController();
    this.#active.add(controller);
    const { signal } = controller;
    const expired = `Expected an answer within ${timeoutMs} ms, the request's deadline, but there was none by then. Ask again, with more time or a higher priority.`;
    const timer = setTimeout(() => controller.abort(new SdkError('ERR_REQUEST_EXPIRED', expired)), timeoutMs);
    const pieces = 'stream' in request && request.stream ? this.#pieces(verb, route) : undefined;
    let isAnswered = false;
    const cancel = (): void => {
      if (isAnswered) return;
      isAnswered = true;
      pieces?.end();
      controller.abort(new SdkError('ERR_DISPOSED', 'Another device of the group answers.'));
    };
    cancelled.addEventListener('abort', cancel, { once: true });
    // At the deadline the caller hears at once, even from a handler that does not stop.
    signal.addEventListener('abort', () => {
      if (isAnswered) return;
      isAnswered = true;
      pieces?.end();
      const reason = signal.reason as SdkError;
      if (reason.code === 'ERR_REQUEST_EXPIRED') this.counters.expired += 1;
      else this.counters.failed += 1;
      this.#fail(verb, route, reason, request);
    });
    try {
      const partial = pieces === undefined ? undefined : (text: string) => pieces.push(text);
      const result = await handler(request, { signal, deadlineMs, client: callerOf(route.topic), partial });
      if (isAnswered) return;
      pieces?.end();
      this.#send({ verb, route, request, fields: encodeResult(verb, result, request) });
      isAnswered = true;
      this.counters.answered += 1;
    } catch (error) {
      if (isAnswered) return;
      isAnswered = true;
      pieces?.end();
      const presentable = this.#presentable(error);
      if (presentable.code === 'ERR_BUSY') this.counters.busy += 1;
      else this.counters.failed += 1;
      this.#fail(verb, route, presentable, request);
    } finally {
      clearTimeout(timer);
      cancelled.removeEventListener('abort', cancel);
      this.#active.delete(controller);
    }
  }

  #pieces(verb: VerbName, route: Route): PartialSender {
    return new PartialSender((index, text) => this.#options.reply({ verb, route, partial: { index, text } }));
  }

  /** Milliseconds from now; not positive when the deadline is over. */
  #timeoutMs(
    request: { readonly timeoutMs?: number | undefined; readonly deadlineMs?: number | undefined },
    message: IncomingMessage,
  ): number {
    const expirySeconds = message.properties.messageExpiryInterval;
    const bounds = [
      request.timeoutMs,
      expirySeconds === undefined ? undefined : Math.max(1, expirySeconds * 1000),
      request.deadlineMs === undefined ? undefined : request.deadlineMs - this.#options.now(),
    ].filter((value) => value !== undefined);
    const wanted = bounds.length === 0 ? this.#defaultTimeoutMs : Math.min(...bounds);
    return Math.min(wanted, REQUEST_TIMEOUT_MS.max);
  }

  /** Errors of ours are made for readers; others may hold anything, so they stay in the log. */
  #presentable(error: unknown): SdkError {
    if (error instanceof SdkError) return error;
    this.#options.logger.log('error', 'A request failed with an unexpected error', {
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    return new SdkError('ERR_INTERNAL', 'The device failed to answer; its log has the details.');
  }

  #refuse(verb: string, route: Route, code: RefusalCode, parts: [string, string]): void {
    this.counters.refused += 1;
    const message = `${parts[0]}; ${parts[1]}.`;
    this.#unloggedRefusals += 1;
    const nowMs = this.#options.monotonicNow();
    if (nowMs - this.#lastRefusalLogMs >= LOG_EVERY_MS) {
      this.#options.logger.log('warn', 'Refused a request', { verb, code, message, refused: this.#unloggedRefusals });
      this.#lastRefusalLogMs = nowMs;
      this.#unloggedRefusals = 0;
    }
    this.#fail(verb, route, new SdkError(code, message));
  }

  #fail(verb: string, route: Route, error: SdkError, request?: object): void {
    const isHinted = error.code !== 'ERR_BUSY' || typeof error.details.retryAfterMs === 'number';
    const hinted = isHinted
      ? error
      : new SdkError(error.code, error.message, { details: { ...error.details, retryAfterMs: BUSY_RETRY_MS } });
    this.#send({ verb, route, request, error: hinted });
  }

  /** @throws SdkError when the fields break the contract; what happens to the message later is told in the log. */
  #send(reply: Reply): void {
    this.#options.reply(reply).catch((error: unknown) => {
      this.#options.logger.log('error', 'An answer could not be published', {
        verb: reply.verb,
        topic: reply.route.topic,
        error: error instanceof Error ? error.message : String(error),
      });
      // A refusal is small, and tells the caller why it waits in vain.
      if ('fields' in reply && isSdkError(error, 'ERR_BUS_REJECTED')) {
        const why = `The answer could not be sent: ${error.message}`;
        this.#fail(reply.verb, reply.route, new SdkError('ERR_LIMIT_EXCEEDED', why));
      }
    });
  }
}

/** A name of bounded length for whoever uses this response topic. */
function callerOf(responseTopic: string): string {
  if (responseTopic.length <= CALLER_MAX_CHARACTERS) return responseTopic;
  return createHash('sha256').update(responseTopic).digest('hex');
}
