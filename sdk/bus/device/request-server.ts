/** Requests from strangers: decoded, checked, given to a handler with a deadline, answered. Never throws. */

import type { z } from 'zod';
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import type { Logger } from '../../core/logger.js';
import { decodeRequest, describeIssues } from '../contract/decoding.js';
import { REQUEST_TIMEOUT_MS } from '../contract/schemas/index.js';
import { type BusTopics, parseTopic } from '../contract/topics.js';
import type { IncomingMessage } from '../transport/link.js';
import { peekTransaction, type Route, routeOf } from './routes.js';

/** What a verb's handler gets besides its parsed request. */
export interface VerbContext {
  readonly signal: AbortSignal;
  /** By the clock of `now`. */
  readonly deadlineMs: number;
}

export interface Verb<Request, Result> {
  readonly schema: z.ZodType<Request>;
  /** undefined: nobody is there to answer yet. */
  handler: ((request: Request, context: VerbContext) => Promise<Result>) | undefined;
}

export type Reply =
  | { readonly verb: string; readonly route: Route; readonly result: unknown; readonly request: unknown }
  | { readonly verb: string; readonly route: Route; readonly error: SdkError };

export interface RequestServerOptions {
  readonly topics: BusTopics;
  readonly responseTopics: readonly string[];
  readonly defaultTimeoutMs: number;
  readonly maxActive: number;
  /** Sends an answer. For a result that does not fit the schema it throws, and an error goes out instead. */
  readonly reply: (reply: Reply) => void;
  readonly logger: Logger;
  /** Milliseconds by a clock that never goes back. */
  readonly now: () => number;
}

interface TimedRequest {
  readonly timeoutMs?: number | undefined;
}

const RECENT_KEYS = 256;
const LOG_EVERY_MS = 10_000;

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
  // biome-ignore lint/suspicious/noExplicitAny: each verb has types of its own, joined again by its own schema
  readonly #verbs = new Map<string, Verb<any, any>>();
  readonly #active = new Set<AbortController>();
  readonly #recent = new Set<string>();
  #lastRefusalLogMs = Number.NEGATIVE_INFINITY;
  #unloggedRefusals = 0;

  constructor(options: RequestServerOptions) {
    this.#options = options;
  }

  get active(): number {
    return this.#active.size;
  }
  get verbs(): string[] {
    return [...this.#verbs.keys()];
  }

  register<Request extends TimedRequest, Result>(name: string, verb: Verb<Request, Result>): void {
    this.#verbs.set(name, verb);
  }

  /** Aborts everything that runs; each gets an answer with `reason`. */
  stop(reason: SdkError): void {
    for (const controller of this.#active) controller.abort(reason);
  }

  handle(message: IncomingMessage): void {
    const parsed = parseTopic(this.#options.topics.root, message.topic);
    if (parsed?.kind !== 'request') return;
    // Deleting a retained message is an empty payload with the retain flag: not a request.
    if (message.payload.length === 0 && message.retain) return;
    this.counters.received += 1;
    const { verb } = parsed;
    const { route, problem } = routeOf(message, verb, this.#options.topics, this.#options.responseTopics);
    if (message.payload.length > LIMITS.busRequestBytes) {
      this.#refuse(verb, { ...route, transaction: peekTransaction(message.payload) }, 'ERR_REQUEST_TOO_LARGE', [
        `Expected a request of at most ${LIMITS.busRequestBytes} bytes, but received ${message.payload.length}`,
        'send a shorter question',
      ]);
      return;
    }
    const decoded = decodeRequest(message.payload);
    const withBody = decoded.ok
      ? routeOf(message, verb, this.#options.topics, this.#options.responseTopics, decoded.value)
      : { route, problem };
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
    this.#dispatch(verb, withBody.route, decoded.value, message);
  }

  #dispatch(name: string, route: Route, body: unknown, message: IncomingMessage): void {
    const verb = this.#verbs.get(name);
    if (verb === undefined) {
      this.#refuse(name, route, 'ERR_REQUEST_INVALID', [
        `Expected one of the verbs ${this.verbs.join(', ')}, but received ${JSON.stringify(name)}`,
        'see the verbs in the info topic',
      ]);
      return;
    }
    const parsed = verb.schema.safeParse(body);
    if (!parsed.success) {
      this.#refuse(name, route, 'ERR_REQUEST_INVALID', [
        `The request does not fit its schema: ${describeIssues(parsed.error)}`,
        'correct the named fields',
      ]);
      return;
    }
    if (this.#isRepeated(route, message)) {
      this.counters.duplicate += 1;
      return;
    }
    if (this.#active.size >= this.#options.maxActive || verb.handler === undefined) {
      this.counters.busy += 1;
      const why =
        verb.handler === undefined
          ? 'The device is not ready to answer yet'
          : `${this.#active.size} requests wait already, which is the limit`;
      this.#fail(name, route, new SdkError('ERR_BUSY', `${why}; try again later.`));
      return;
    }
    void this.#run(name, route, parsed.data, verb.handler, message);
  }

  async #run(
    name: string,
    route: Route,
    request: TimedRequest,
    handler: (request: TimedRequest, context: VerbContext) => Promise<unknown>,
    message: IncomingMessage,
  ): Promise<void> {
    const timeoutMs = this.#timeoutMs(request, message);
    const deadlineMs = this.#options.now() + timeoutMs;
    const controller = new AbortController();
    this.#active.add(controller);
    const { signal } = controller;
    const timer = setTimeout(() => {
      controller.abort(
        new SdkError('ERR_REQUEST_EXPIRED', `No answer within ${timeoutMs} ms, the request's deadline.`),
      );
    }, timeoutMs);
    let isAnswered = false;
    // At the deadline the caller hears at once, even from a handler that does not stop.
    signal.addEventListener('abort', () => {
      if (isAnswered) return;
      isAnswered = true;
      const reason = signal.reason as SdkError;
      if (reason.code === 'ERR_REQUEST_EXPIRED') this.counters.expired += 1;
      else this.counters.failed += 1;
      this.#fail(name, route, reason);
    });
    try {
      const result = await handler(request, { signal, deadlineMs });
      if (isAnswered) return;
      this.#options.reply({ verb: name, route, result, request });
      isAnswered = true;
      this.counters.answered += 1;
    } catch (error) {
      if (isAnswered) return;
      isAnswered = true;
      this.counters.failed += 1;
      this.#fail(name, route, this.#presentable(error));
    } finally {
      clearTimeout(timer);
      // Only now: a handler that ignores its signal still uses the engine, so its place stays taken.
      this.#active.delete(controller);
    }
  }

  #timeoutMs(request: TimedRequest, message: IncomingMessage): number {
    const expirySeconds = message.properties.messageExpiryInterval;
    const bounds = [request.timeoutMs, expirySeconds === undefined ? undefined : expirySeconds * 1000].filter(
      (value) => value !== undefined,
    );
    const wanted = bounds.length === 0 ? this.#options.defaultTimeoutMs : Math.min(...bounds);
    return Math.max(1, Math.min(wanted, REQUEST_TIMEOUT_MS.max));
  }

  /** A QoS 1 request may come twice; the broker marks the second, and what marks the caller marks the request. */
  #isRepeated(route: Route, message: IncomingMessage): boolean {
    const mark = route.correlationData?.toString('hex') ?? route.transaction;
    if (mark === undefined) return false;
    const key = JSON.stringify([message.topic, route.topic, mark]);
    if (message.duplicate && this.#recent.has(key)) return true;
    this.#recent.add(key);
    const oldest = this.#recent.values().next().value;
    if (this.#recent.size > RECENT_KEYS && oldest !== undefined) this.#recent.delete(oldest);
    return false;
  }

  /** Errors of ours are made for readers; others may hold anything, so they stay in the log. */
  #presentable(error: unknown): SdkError {
    if (error instanceof SdkError) return error;
    this.#options.logger.log('error', 'A request failed with an unexpected error', {
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    return new SdkError('ERR_ENGINE_FAILED', 'The device failed to answer; its log has the details.');
  }

  #refuse(
    verb: string,
    route: Route,
    code: 'ERR_REQUEST_INVALID' | 'ERR_REQUEST_TOO_LARGE',
    parts: [string, string],
  ): void {
    this.counters.refused += 1;
    const message = `${parts[0]}; ${parts[1]}.`;
    this.#unloggedRefusals += 1;
    const now = this.#options.now();
    if (now - this.#lastRefusalLogMs >= LOG_EVERY_MS) {
      this.#options.logger.log('warn', 'Refused a request', { verb, code, message, refused: this.#unloggedRefusals });
      this.#lastRefusalLogMs = now;
      this.#unloggedRefusals = 0;
    }
    this.#fail(verb, route, new SdkError(code, message));
  }

  #fail(verb: string, route: Route, error: SdkError): void {
    this.#options.reply({ verb, route, error });
  }
}
