/**
 * Subscriptions that a device can do without. A broker with narrow access rules may refuse them, and some cut the
 * connection instead of refusing: neither keeps the device from its work.
 */
import type { Logger } from '../../core/logger.js';
import { type Link, LinkClosedError } from '../transport/link.js';

export interface OptionalSubscription {
  readonly filter: string;
  /** What the device does without when it is refused, for the log. */
  readonly purpose: string;
  readonly retainAsPublished: boolean;
}

/** A connection may also be lost by chance while the broker has not answered yet. */
const MAX_CUTS = 2;

export class OptionalSubscriptions {
  readonly #logger: Logger;
  /** Not asked for again while the device runs. */
  readonly #refused = new Set<string>();
  readonly #cuts = new Map<string, number>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * Resolves with true when every one is granted or refused, with false when the connection is gone. Never rejects.
   * One after the other: when the broker cuts the connection, it is known for which.
   */
  async subscribe(link: Link, subscriptions: readonly OptionalSubscription[]): Promise<boolean> {
    for (const subscription of subscriptions) {
      const { filter, retainAsPublished } = subscription;
      if (this.#refused.has(filter)) continue;
      try {
        await link.subscribe(filter, retainAsPublished);
      } catch (error) {
        if (!(error instanceof LinkClosedError)) {
          this.#giveUp(subscription, error instanceof Error ? error.message : String(error));
          continue;
        }
        const cuts = (this.#cuts.get(filter) ?? 0) + 1;
        this.#cuts.set(filter, cuts);
        if (cuts >= MAX_CUTS)
          this.#giveUp(subscription, 'the broker repeatedly closed the connection instead of answering');
        return false;
      }
    }
    return true;
  }

  #giveUp({ filter, purpose }: OptionalSubscription, why: string): void {
    this.#refused.add(filter);
    this.#logger.log(
      'warn',
      `The broker refused the subscription to ${filter}; this device continues without ${purpose}`,
      {
        why,
      },
    );
  }
}
