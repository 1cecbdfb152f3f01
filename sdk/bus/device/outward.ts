/**
 * Messages outside of the device's own topics, for systems that have conventions of their own. Nothing is published
 * there unless whoever connects the bus names the place, and no id can lead to another one.
 */
import { SdkError } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import { isTopicSegment, TOPIC_SEGMENT_RULE } from '../contract/topics.js';
import type { IncomingMessage } from '../transport/link.js';
import type { Outbox } from '../transport/outbox.js';
import type { PublishResult } from '../transport/types.js';
import type { OptionalSubscription } from './optional-subscriptions.js';
import type { OutwardMessage, OutwardOptions, OutwardTopic } from './types.js';

export interface OutwardParts {
  readonly root: string;
  readonly outbox: Outbox;
  /** Deletes what is retained there. */
  readonly clear: (topics: readonly string[], what: string) => Promise<void>;
  /** @throws SdkError ERR_DISPOSED */
  readonly requireOpen: (topic: string) => void;
  readonly logger: Logger;
}

/** After `info`, before the states that it may announce. */
const STATE_RANK = 1;
const EVENT_RANK = 9;
const MAX_PLACES = 16;
const MAX_LEVELS = 16;
/** Retained topics: each is held, and sent again after every connect. */
const MAX_RETAINED = 64;
const MAX_PAYLOAD_BYTES = 256 * 1024;
/** Of what is heard: words such as `online`. */
const MAX_HEARD_BYTES = 1024;

/** The outward half of `Bus`, where its methods are described. */
export class Outward {
  readonly #parts: OutwardParts;
  readonly #prefixes: readonly string[];
  readonly #heard: ReadonlySet<string>;
  readonly #retained = new Set<string>();
  readonly #listeners = new Set<(topic: string, text: string) => void>();

  /** @throws SdkError ERR_ARGUMENT_INVALID for a place that no device may write to or a topic that is none. */
  constructor({ publish = [], listen = [] }: OutwardOptions, parts: OutwardParts) {
    this.#parts = parts;
    for (const place of [...publish, ...listen]) checkPlace(place, parts.root);
    if (publish.length > MAX_PLACES || listen.length > MAX_PLACES)
      throw invalid(`at most ${MAX_PLACES} outward places`, publish.length + listen.length);
    this.#prefixes = publish;
    this.#heard = new Set(listen);
  }

  get subscriptions(): readonly OptionalSubscription[] {
    return [...this.#heard].map((filter) => {
      return { filter, purpose: 'hearing of another system', retainAsPublished: false };
    });
  }

  async publish(where: OutwardTopic, payload: object, message: OutwardMessage = {}): Promise<PublishResult> {
    const { retain = false, queue = true, isRepeated = false } = message;
    const topic = this.#topicOf(where);
    this.#parts.requireOpen(topic);
    const text = JSON.stringify(payload);
    if (Buffer.byteLength(text) > MAX_PAYLOAD_BYTES)
      throw invalid(`at most ${MAX_PAYLOAD_BYTES} bytes on ${topic}`, Buffer.byteLength(text));
    if (retain && !this.#retained.has(topic) && this.#retained.size >= MAX_RETAINED) {
      const message = `Expected at most ${MAX_RETAINED} retained topics outside of the device's own; ${topic} is one more.`;
      throw new SdkError('ERR_LIMIT_EXCEEDED', message);
    }
    if (retain) this.#retained.add(topic);
    const common = { topic, payload: text, value: payload, expiresAtMs: undefined, correlationData: undefined };
    return this.#parts.outbox.push(
      retain
        ? { ...common, kind: 'state', rank: STATE_RANK }
        : { ...common, kind: 'event', rank: EVENT_RANK, isUnkept: !queue, isRepeated },
    );
  }

  async remove(where: OutwardTopic): Promise<void> {
    const topic = this.#topicOf(where);
    await this.#parts.clear([topic], topic);
    this.#retained.delete(topic);
  }

  listen(listener: (topic: string, text: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Whether the message was one of these. */
  receive({ topic, payload }: IncomingMessage): boolean {
    if (!this.#heard.has(topic)) return false;
    if (payload.length > MAX_HEARD_BYTES) return true;
    const text = Buffer.from(payload).toString('utf8');
    for (const listener of [...this.#listeners]) {
      try {
        listener(topic, text);
      } catch (error) {
        this.#parts.logger.log('error', 'A listener of the bus failed', { topic, error: String(error) });
      }
    }
    return true;
  }

  #topicOf({ prefix, levels }: OutwardTopic): string {
    if (!this.#prefixes.includes(prefix))
      throw invalid(
        `one of the places that the bus was connected with (${this.#prefixes.join(', ') || 'none'})`,
        prefix,
      );
    if (levels.length < 1 || levels.length > MAX_LEVELS)
      throw invalid(`1 to ${MAX_LEVELS} topic levels below ${prefix}`, levels.length);
    const wrong = levels.find((level) => !isTopicSegment(level));
    if (wrong !== undefined) throw invalid(`topic levels of ${TOPIC_SEGMENT_RULE}`, wrong);
    const topic = `${prefix}/${levels.join('/')}`;
    // A prefix may lie above the root: what is below the root belongs to the contract.
    if (isWithin(this.#parts.root, topic)) throw invalid(`a topic outside of ${this.#parts.root}`, topic);
    return topic;
  }
}

function checkPlace(place: string, root: string): void {
  if (!place.split('/').every(isTopicSegment))
    throw invalid(`outward topics of levels of ${TOPIC_SEGMENT_RULE}`, place);
  if (isWithin(root, place)) throw invalid(`outward topics outside of ${root}, which is the contract's`, place);
}

function isWithin(root: string, topic: string): boolean {
  return topic === root || topic.startsWith(`${root}/`);
}

function invalid(expected: string, received: unknown): SdkError {
  return new SdkError('ERR_ARGUMENT_INVALID', `Expected ${expected}, but received ${JSON.stringify(received)}.`, {
    details: { received },
  });
}
