/** Requests to a group of devices: one of them answers, and another is asked when it does not. */
import { SdkError } from '../../core/errors.js';
import { linkedAbort } from '../../core/linked-abort.js';
import type { Logger } from '../../core/logger.js';
import { type GroupVerb, groupTopics } from '../contract/group-topics.js';
import type { ResponseOf } from '../contract/verbs.js';
import { type Link, LinkClosedError } from '../transport/link.js';
import { randomId } from '../transport/random-id.js';
import type { AskOptions, Query } from './client-types.js';
import type { PendingRequests } from './pending-requests.js';
import type { Presence } from './presence.js';
import { checkedRequest, DEFAULT_TIMEOUT_MS, sendRequest } from './request-message.js';

export interface GroupRequestsOptions {
  readonly root: string;
  readonly answerTopic: string;
  /** Broker address without credentials. */
  readonly broker: string;
  readonly pending: PendingRequests;
  readonly presence: Presence;
  readonly isOnline: () => boolean;
  /** Resolves with a connection that is up. @throws signal.reason, SdkError ERR_DISPOSED. */
  readonly online: (signal: AbortSignal) => Promise<Link>;
  /** Called after each connect. Returns a function that stops it. */
  readonly onOnline: (listener: () => void) => () => void;
  readonly logger: Logger;
}

/** A member says within that time that it has taken the request; in a cluster the way there is longer. */
const TAKEN_WITHIN_MS = 5_000;
/** Perhaps the only member comes back in a moment. */
const UNHEARD_PAUSE_MS = 1_000;
/** What says so in the answer: another device may answer as well. */
const AGAIN = 2;
/** Where nobody takes it, or the connection is lost again and again. */
const MAX_SENDS = 8;

export class GroupRequests {
  readonly #options: GroupRequestsOptions;

  constructor(options: GroupRequestsOptions) {
    this.#options = options;
  }

  /**
   * @throws SdkError ERR_BUS_UNREACHABLE (nobody is in the group), ERR_BUS_TIMEOUT, the error of the last device that
   *   was asked; `signal.reason` when aborted
   */
  async send<Verb extends GroupVerb>(
    group: string,
    verb: Verb,
    query: Omit<Query<Verb>, 'group'>,
    options: AskOptions,
  ): Promise<ResponseOf<Verb>> {
    const job = new GroupRequest(this.#options, group, verb, query, options);
    // PendingRequests has compared the verbs.
    return (await job.run()) as ResponseOf<Verb>;
  }
}

class GroupRequest {
  readonly #options: GroupRequestsOptions;
  readonly #group: string;
  readonly #verb: GroupVerb;
  readonly #callOptions: AskOptions;
  readonly #topic: string;
  readonly #timeoutMs: number;
  readonly #request: object;
  readonly #id = randomId(32);
  readonly #endsMs: number;
  readonly #end: AbortController;
  /** Devices that said that they take it, and have not failed since. */
  readonly #takers = new Set<string>();
  readonly #excluded = new Set<string>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #sends = 0;
  /** A device that had it has failed, and another one was asked. */
  #wasAskedElsewhere = false;
  #wasTaken = false;

  constructor(options: GroupRequestsOptions, group: string, verb: GroupVerb, query: object, callOptions: AskOptions) {
    callOptions.signal?.throwIfAborted();
    this.#options = options;
    this.#group = group;
    this.#verb = verb;
    this.#callOptions = callOptions;
    this.#topic = groupTopics(options.root, group).request(verb);
    this.#timeoutMs = callOptions.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#endsMs = performance.now() + this.#timeoutMs;
    this.#end = new AbortController();
    this.#request = checkedRequest(verb, {
      ...query,
      transaction: this.#id,
      responseTopic: options.answerTopic,
      timeoutMs: this.#timeoutMs,
      ...(callOptions.onText === undefined ? {} : { stream: true }),
    });
  }

  async run(): Promise<unknown> {
    const { pending, presence, onOnline } = this.#options;
    using linked = linkedAbort([this.#end.signal, this.#callOptions.signal]);
    const { signal } = linked;
    this.#after(this.#timeoutMs, () => this.#end.abort(this.#timeout()));
    const answer = pending.wait(this.#id, {
      device: undefined,
      verb: this.#verb,
      onText: this.#callOptions.onText,
      onAccepted: (device) => this.#accepted(device, signal),
      onRefused: (error, device) => this.#refused(error, device, signal),
      signal,
    });
    const stopPresence = presence.onGone((device) => {
      if (this.#takers.delete(device)) this.#askAgain(`${device} is gone`, device, signal);
    });
    // Answers of the time without a connection are lost where the broker keeps no sessions, or was another one.
    const stopOnline = onOnline(() => this.#askAgain('the connection to the broker was lost', undefined, signal));
    this.#after(this.#timeoutMs / 2, () => {
      const [slow] = this.#takers;
      if (slow !== undefined) this.#askAgain('no answer when half of the time is over', slow, signal);
    });
    try {
      this.#ask(signal);
      return await answer;
    } finally {
      stopPresence();
      stopOnline();
      for (const timer of this.#timers) clearTimeout(timer);
      this.#end.abort(new SdkError('ERR_BUS_TIMEOUT', 'The request was given up.'));
    }
  }

  #ask(signal: AbortSignal): void {
    this.#sends += 1;
    const send = this.#sends;
    this.#publish(send > 1, signal).then(
      (isUnheard) => {
        if (!signal.aborted) this.#watch(send, isUnheard, signal);
      },
      (error: unknown) => {
        if (!signal.aborted) this.#end.abort(error);
      },
    );
  }

  /** Sends again when nobody takes it: it may have been lost with a member, or with a node of the broker. */
  #watch(send: number, isUnheard: boolean, signal: AbortSignal): void {
    const leftMs = this.#endsMs - performance.now();
    const patienceMs = isUnheard ? UNHEARD_PAUSE_MS : TAKEN_WITHIN_MS * 2 ** (send - 1);
    this.#after(Math.min(patienceMs, leftMs / 4), () => {
      if (this.#sends !== send || this.#takers.size > 0) return;
      if (isUnheard && send > 1) this.#end.abort(this.#nobody());
      else this.#askAgain('nobody took it', undefined, signal);
    });
  }

  /** Every send has an id of its own, because a device answers each once; the first answer counts. */
  async #publish(isAgain: boolean, signal: AbortSignal): Promise<boolean> {
    const { pending, online, answerTopic } = this.#options;
    for (let sends = 0; ; sends += 1) {
      const isFirst = !isAgain && sends === 0;
      const transaction = isFirst ? this.#id : randomId(32);
      if (!isFirst) pending.alsoKnownAs(this.#id, transaction);
      const exclude = [...this.#excluded];
      const group = { attempt: isFirst ? 1 : AGAIN, ...(exclude.length === 0 ? {} : { exclude }) };
      const timeoutMs = Math.max(1, Math.round(this.#endsMs - performance.now()));
      const link = await online(signal);
      try {
        const request = { ...this.#request, group };
        return await sendRequest(link, { topic: this.#topic, request, transaction, answerTopic, timeoutMs });
      } catch (error) {
        if (!(error instanceof LinkClosedError)) throw error;
      }
    }
  }

  #accepted(device: string, signal: AbortSignal): void {
    this.#wasTaken = true;
    this.#takers.add(device);
    void this.#options
      .online(signal)
      .then((link) => this.#options.presence.follow(device, link))
      // Lost meanwhile, or over: what is said of the device then does not matter.
      .catch(() => {});
  }

  /** @returns true when another device is asked, or has it. */
  #refused(error: SdkError, device: string, signal: AbortSignal): boolean {
    this.#takers.delete(device);
    // What is wrong with the request itself is wrong everywhere.
    if (error.details.retryable !== true && error.code !== 'ERR_DISPOSED') return false;
    return this.#askAgain(error.message, device, signal) || this.#takers.size > 0;
  }

  /** @param device that had it, and has its turn no more. Another one is asked once; what got lost is sent again. */
  #askAgain(why: string, device: string | undefined, signal: AbortSignal): boolean {
    if (device !== undefined) this.#excluded.add(device);
    if (this.#sends >= MAX_SENDS || signal.aborted) return false;
    if (device !== undefined) {
      if (this.#wasAskedElsewhere) return false;
      this.#wasAskedElsewhere = true;
    }
    this.#options.logger.log('info', 'Asks the group again', { group: this.#group, why });
    this.#ask(signal);
    return true;
  }

  #nobody(): SdkError {
    const message = `No device of the group ${this.#group} takes requests at ${this.#options.broker}: all are away, busy or degraded, or none is in it. Check the name of the group and the topic root; \`scenebus bus fleet\` shows who is there.`;
    return new SdkError('ERR_BUS_UNREACHABLE', message, { details: { group: this.#group } });
  }

  #timeout(): SdkError {
    const hint = !this.#options.isOnline()
      ? `the broker ${this.#options.broker} cannot be reached`
      : this.#wasTaken
        ? `${[...this.#takers, ...this.#excluded].join(', ')} had it; ask again or allow more time`
        : 'no device took it: all are away, busy or degraded, or none is in the group';
    return new SdkError(
      'ERR_BUS_TIMEOUT',
      `No answer from the group ${this.#group} within ${this.#timeoutMs} ms, sent ${this.#sends} times; ${hint}.`,
      { details: { group: this.#group, timeoutMs: this.#timeoutMs, sends: this.#sends } },
    );
  }

  #after(delayMs: number, then: () => void): void {
    this.#timers.add(setTimeout(then, Math.max(0, delayMs)));
  }
}
