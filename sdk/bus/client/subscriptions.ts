/** What a client listens to: filters that it subscribes, again after each reconnect, and who gets the messages. */
import type { Logger } from '../../core/logger.js';
import { topicMatches } from '../contract/topics.js';
import { type Link, LinkClosedError } from '../transport/link.js';

export interface Subscription {
  readonly filter: string;
  readonly receive: (topic: string, value: unknown, isRetained: boolean) => void;
}

export class Subscriptions {
  readonly #all = new Set<Subscription>();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @throws SdkError ERR_BUS_REJECTED when the broker refuses; while offline it is asked for later. */
  async add(subscription: Subscription, link: Link | undefined): Promise<void> {
    this.#all.add(subscription);
    try {
      // Always asked for again, because that brings the retained messages.
      await link?.subscribe(subscription.filter);
    } catch (error) {
      // Lost meanwhile: the next connection asks for all of them.
      if (error instanceof LinkClosedError) return;
      this.#all.delete(subscription);
      throw error;
    }
  }

  async remove(subscription: Subscription, link: Link | undefined): Promise<void> {
    this.#all.delete(subscription);
    const isShared = [...this.#all].some((other) => other.filter === subscription.filter);
    if (!isShared) await link?.unsubscribe(subscription.filter).catch(() => {});
  }

  async renew(link: Link): Promise<void> {
    for (const filter of new Set([...this.#all].map((subscription) => subscription.filter))) {
      await link.subscribe(filter);
    }
  }

  deliver(topic: string, value: unknown, isRetained: boolean): void {
    for (const subscription of this.#all) {
      if (!topicMatches(subscription.filter, topic)) continue;
      try {
        subscription.receive(topic, value, isRetained);
      } catch (error) {
        this.#logger.log('error', 'A listener of the bus client failed', { topic, error: String(error) });
      }
    }
  }
}
