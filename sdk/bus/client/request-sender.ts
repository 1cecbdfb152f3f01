/** Requests of a client: sent, sent again after a lost connection, and given up when the device is not there. */
import { SdkError } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import { describeIssues, readPayload } from '../contract/decoding.js';
import { busSchemas } from '../contract/schemas/index.js';
import { busTopics } from '../contract/topics.js';
import type { ResponseOf, VerbName } from '../contract/verbs.js';
import { type IncomingMessage, type Link, LinkClosedError } from '../transport/link.js';
import { randomId } from '../transport/random-id.js';
import type { AskOptions, Query } from './client-types.js';
import type { PendingRequests } from './pending-requests.js';
import type { Presence } from './presence.js';
import { checkedRequest, DEFAULT_TIMEOUT_MS, sendRequest } from './request-message.js';

export interface RequestSenderOptions {
  readonly root: string;
  readonly answerTopic: string;
  /** Broker address without credentials. */
  readonly broker: string;
  readonly pending: PendingRequests;
  readonly presence: Presence;
  readonly isOnline: () => boolean;
  /** Resolves with a connection that is up. @throws signal.reason, SdkError ERR_DISPOSED. */
  readonly online: (signal: AbortSignal) => Promise<Link>;
  readonly logger: Logger;
}

export class RequestSender {
  readonly #options: RequestSenderOptions;
  readonly #pending: PendingRequests;
  readonly #presence: Presence;

  constructor(options: RequestSenderOptions) {
    this.#options = options;
    this.#pending = options.pending;
    this.#presence = options.presence;
    this.#presence.onGone((device, state, isRetained) => {
      // A device that goes offline now may come back and still answer; a stopped or long absent one will not.
      if (state === 'stopped' || isRetained) this.#pending.failDevice(device, this.#absent(device, `it is ${state}`));
    });
  }

  async send<Verb extends VerbName>(
    device: string,
    verb: Verb,
    query: Query<Verb>,
    options: AskOptions,
  ): Promise<ResponseOf<Verb>> {
    options.signal?.throwIfAborted();
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const topic = busTopics(this.#options.root, device).request(verb);
    const id = randomId(32);
    const request = checkedRequest(verb, {
      ...query,
      transaction: id,
      responseTopic: this.#options.answerTopic,
      timeoutMs,
      ...(options.onText === undefined ? {} : { stream: true }),
    });
    const end = new AbortController();
    const timer = setTimeout(() => end.abort(this.#timeout(device, timeoutMs)), timeoutMs);
    const onAbort = (): void => end.abort(options.signal?.reason);
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const { signal } = end;
    const answer = this.#pending.wait(id, { device, verb, onText: options.onText, signal });
    try {
      // Both at once: an answer or a failure ends the wait even while sending hangs.
      const delivery = this.#deliver({ device, topic, id, request, timeoutMs, signal });
      const response = (await Promise.race([answer, delivery])) ?? (await answer);
      // PendingRequests has compared the verbs.
      return response as ResponseOf<Verb>;
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
      // Ends whichever of the two still runs; its rejection has a handler in the race.
      end.abort(new SdkError('ERR_BUS_TIMEOUT', 'The request was given up.'));
    }
  }

  /** A message on the answer topic. */
  receive(message: IncomingMessage, value: unknown): void {
    const response = readPayload(busSchemas.response, value);
    const { correlationData } = message.properties;
    const mark = correlationData === undefined ? undefined : new TextDecoder().decode(correlationData);
    const isExpected = response.success && this.#pending.answer(mark ?? response.data.transaction, response.data);
    if (isExpected) return;
    const why = response.success ? 'no request is waiting for it' : describeIssues(response.error);
    this.#options.logger.log('debug', 'Skipped an answer', { topic: message.topic, why });
  }

  failAll(error: SdkError): void {
    this.#pending.failAll(error);
  }

  /** Sends the request, again after a lost connection, each time with an id of its own; the first answer counts. */
  async #deliver(job: {
    readonly device: string;
    readonly topic: string;
    readonly id: string;
    readonly request: object;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
  }): Promise<undefined> {
    const { device, topic, id, request, timeoutMs, signal } = job;
    let transaction = id;
    for (;;) {
      const link = await this.#options.online(signal);
      try {
        await this.#presence.follow(device, link);
        const presence = this.#presence.stateOf(device);
        if (presence === 'offline' || presence === 'stopped') throw this.#absent(device, `it is ${presence}`);
        const { answerTopic } = this.#options;
        const unheard = await sendRequest(link, { topic, request, transaction, answerTopic, timeoutMs });
        if (unheard) throw this.#absent(device, 'nothing is subscribed to its request topic');
        return undefined;
      } catch (error) {
        if (!(error instanceof LinkClosedError)) throw error;
        transaction = randomId(32);
        this.#pending.alsoKnownAs(id, transaction);
      }
    }
  }

  #timeout(device: string, timeoutMs: number): SdkError {
    const presence = this.#presence.stateOf(device);
    const hint = this.#options.isOnline()
      ? presence === undefined
        ? `no device of that name has been seen at ${this.#options.broker}. Check the name and the topic root`
        : `none came, although the device says that it is ${presence}. Ask again, or allow more time`
      : `the broker ${this.#options.broker} cannot be reached. Check that it runs, and the network`;
    const message = `Expected an answer from ${device} within ${timeoutMs} ms, but ${hint}.`;
    return new SdkError('ERR_BUS_TIMEOUT', message, { details: { device, timeoutMs } });
  }

  #absent(device: string, why: string): SdkError {
    return new SdkError(
      'ERR_BUS_UNREACHABLE',
      `Expected the device ${device} to answer at ${this.#options.broker}, but ${why}. Check that it runs, its name and the topic root.`,
      { details: { device } },
    );
  }
}
