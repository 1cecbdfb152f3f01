/**
 * What waits to be sent, bounded whatever happens to the broker. Knows nothing of MQTT.
 *
 * State topics keep their latest value: it replaces an unsent one, and all of them go out after each connect, because
 * the broker may have lost its retained messages. Events (answers) keep their order in a bounded queue. Sending is
 * paced by acknowledgements, so that an outage does not end in a flood.
 */
import { SdkError } from '../../core/errors.js';
import type { PublishResult } from './types.js';

export interface OutboxMessage {
  readonly topic: string;
  readonly kind: 'state' | 'event';
  /** States go out in this order after a connect: small first. */
  readonly rank: number;
  readonly payload: string;
  /** The object that `payload` spells. */
  readonly value: unknown;
  /** When nobody wants it any more, by the clock of `now`. */
  readonly expiresAtMs: number | undefined;
  /** MQTT 5: echoed to the asker. */
  readonly correlationData: Uint8Array | undefined;
  /** MQTT 5: how long the broker may keep it, from when it is sent; for what we keep without end. */
  readonly brokerSeconds?: number | undefined;
  /** Goes first when there is no room. */
  readonly isExpendable?: boolean | undefined;
  /** true: is not kept while nobody sends; whoever pushes keeps it. */
  readonly isUnkept?: boolean | undefined;
  /** MQTT 5: marked, for it may have been sent before. */
  readonly isRepeated?: boolean | undefined;
}

/** Rejects with `isLost(error)` true when the connection closed before the acknowledgement. */
export type Send = (message: OutboxMessage) => Promise<unknown>;

export interface OutboxOptions {
  /** Events kept; when full the oldest goes. */
  readonly queueLength: number;
  /** Different state topics. */
  readonly maxStates: number;
  readonly isLost: (error: unknown) => boolean;
  readonly onDelivered: (message: OutboxMessage) => void;
  /** A message whose caller was told `queued` did not make it, or an event nobody waits for. */
  readonly onLoss: (message: OutboxMessage, why: 'queue-full' | 'expired' | 'refused', error?: unknown) => void;
  /** Milliseconds by a clock that never goes back. */
  readonly now: () => number;
}

interface Ticket {
  readonly message: OutboxMessage;
  settle: ((result: PublishResult | Error) => void) | undefined;
}

export class Outbox {
  readonly counters = { delivered: 0, refused: 0, superseded: 0, droppedQueueFull: 0, droppedExpired: 0 };
  readonly #options: OutboxOptions;
  /** Latest value of each state topic, sent or not. */
  readonly #states = new Map<string, OutboxMessage>();
  #tickets: Ticket[] = [];
  readonly #inFlight = new Set<Ticket>();
  #send: Send | undefined;
  #window = 1;
  #idleWaiters: (() => void)[] = [];

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  get length(): number {
    return this.#tickets.length + this.#inFlight.size;
  }

  /** Topics of which a state is held. */
  get stateTopics(): string[] {
    return [...this.#states.keys()];
  }

  /** Resolves when acknowledged, or at once with `queued` while nobody sends. */
  push(message: OutboxMessage): Promise<PublishResult> {
    return new Promise((resolve, reject) => {
      if (message.isUnkept && this.#send === undefined) {
        reject(unkept(message));
        return;
      }
      const ticket: Ticket = {
        message,
        settle: (result) => (result instanceof Error ? reject(result) : resolve(result)),
      };
      if (message.kind === 'state') {
        if (!this.#states.has(message.topic) && this.#states.size >= this.#options.maxStates) {
          const limit = this.#options.maxStates;
          reject(
            new SdkError(
              'ERR_LIMIT_EXCEEDED',
              `Expected at most ${limit} different state topics; ${message.topic} is one more.`,
            ),
          );
          return;
        }
        this.#states.set(message.topic, message);
        this.#supersede(message.topic);
      } else {
        this.#makeRoom();
      }
      this.#tickets.push(ticket);
      if (this.#send === undefined) settle(ticket, 'queued');
      else this.#pump();
    });
  }

  /** Forgets a state topic; it is no longer sent after a connect. */
  forget(topic: string): void {
    this.#states.delete(topic);
    this.#tickets = this.#tickets.filter((ticket) => {
      if (ticket.message.kind !== 'state' || ticket.message.topic !== topic) return true;
      settle(ticket, 'superseded');
      return false;
    });
  }

  /** Starts sending: every state in rank order, then the events that waited. At most `window` unacknowledged. */
  attach(send: Send, window: number): void {
    const now = this.#options.now();
    for (const [topic, message] of this.#states) {
      if (!isExpired(message, now)) continue;
      // A stale scene is better gone than seen again.
      this.#states.delete(topic);
      this.#lose(message, 'expired');
    }
    const events = this.#tickets.filter((ticket) => ticket.message.kind === 'event');
    const states = [...this.#states.values()].sort((a, b) => a.rank - b.rank);
    this.#tickets = [...states.map((message): Ticket => ({ message, settle: undefined })), ...events];
    this.#send = send;
    this.#window = Math.max(1, window);
    this.#pump();
  }

  /** The connection is gone: what was not acknowledged waits again. */
  detach(): void {
    this.#send = undefined;
    for (const ticket of [...this.#inFlight, ...this.#tickets]) {
      if (!ticket.message.isUnkept) continue;
      this.#inFlight.delete(ticket);
      this.#tickets = this.#tickets.filter((other) => other !== ticket);
      settle(ticket, unkept(ticket.message));
    }
    const unacknowledged = [...this.#inFlight].filter((ticket) => ticket.message.kind === 'event');
    for (const ticket of [...this.#inFlight, ...this.#tickets]) settle(ticket, 'queued');
    this.#inFlight.clear();
    // States are in #states; attach() makes new tickets for them.
    const waiting = this.#tickets.filter((ticket) => ticket.message.kind === 'event');
    this.#tickets = [...unacknowledged, ...waiting];
    this.#wakeIdle();
  }

  /** Resolves when nothing waits for an acknowledgement any more, or nobody sends. */
  idle(): Promise<void> {
    if (this.#send === undefined || this.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  #pump(): void {
    while (this.#send !== undefined && this.#inFlight.size < this.#window) {
      const ticket = this.#tickets.shift();
      if (ticket === undefined) break;
      if (isExpired(ticket.message, this.#options.now())) {
        this.#lose(ticket.message, 'expired');
        settle(
          ticket,
          new SdkError('ERR_REQUEST_EXPIRED', `The message on ${ticket.message.topic} became too old to send.`),
        );
        continue;
      }
      this.#inFlight.add(ticket);
      const send = this.#send;
      send(ticket.message).then(
        () => {
          this.counters.delivered += 1;
          this.#options.onDelivered(ticket.message);
          this.#finish(ticket, 'delivered');
        },
        (error: unknown) => {
          // detach() follows and puts it back.
          if (this.#options.isLost(error) || !this.#inFlight.has(ticket)) return;
          if (ticket.settle === undefined) this.#lose(ticket.message, 'refused', error);
          else this.counters.refused += 1;
          this.#finish(ticket, error instanceof Error ? error : new Error(String(error)));
        },
      );
    }
    if (this.length === 0) this.#wakeIdle();
  }

  #finish(ticket: Ticket, result: PublishResult | Error): void {
    settle(ticket, result);
    if (this.#inFlight.delete(ticket)) this.#pump();
  }

  #supersede(topic: string): void {
    const index = this.#tickets.findIndex(({ message }) => message.kind === 'state' && message.topic === topic);
    if (index === -1) return;
    const [old] = this.#tickets.splice(index, 1);
    this.counters.superseded += 1;
    if (old !== undefined) settle(old, 'superseded');
  }

  #makeRoom(): void {
    const events = this.#tickets.filter(({ message }) => message.kind === 'event');
    const oldest = events.find(({ message }) => message.isExpendable) ?? events[0];
    if (oldest === undefined || events.length < this.#options.queueLength) return;
    this.#tickets.splice(this.#tickets.indexOf(oldest), 1);
    this.#lose(oldest.message, 'queue-full');
    settle(
      oldest,
      new SdkError('ERR_LIMIT_EXCEEDED', `More than ${this.#options.queueLength} messages wait for the broker.`),
    );
  }

  #lose(message: OutboxMessage, why: 'queue-full' | 'expired' | 'refused', error?: unknown): void {
    if (why === 'queue-full') this.counters.droppedQueueFull += 1;
    else if (why === 'expired') this.counters.droppedExpired += 1;
    else this.counters.refused += 1;
    this.#options.onLoss(message, why, error);
  }

  #wakeIdle(): void {
    for (const wake of this.#idleWaiters.splice(0)) wake();
  }
}

function unkept({ topic }: OutboxMessage): SdkError {
  return new SdkError('ERR_BUS_UNREACHABLE', `The broker cannot be reached; the message on ${topic} was not sent.`);
}

function settle(ticket: Ticket, result: PublishResult | Error): void {
  ticket.settle?.(result);
  ticket.settle = undefined;
}

function isExpired(message: OutboxMessage, nowMs: number): boolean {
  return message.expiresAtMs !== undefined && message.expiresAtMs <= nowMs;
}
