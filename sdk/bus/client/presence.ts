/** Which devices are there: the only way on MQTT 3.1.1 to learn that nobody listens. */
import type { Logger } from '../../core/logger.js';
import { readPayload } from '../contract/decoding.js';
import { type Availability, busSchemas } from '../contract/schemas/index.js';
import { busTopics } from '../contract/topics.js';
import { type Link, LinkClosedError } from '../transport/link.js';
import type { Subscriptions } from './subscriptions.js';

export type GoneListener = (device: string, state: 'offline' | 'stopped', isRetained: boolean) => void;

export class Presence {
  readonly #root: string;
  readonly #subscriptions: Subscriptions;
  readonly #logger: Logger;
  readonly #states = new Map<string, Availability['state']>();
  readonly #followed = new Set<string>();
  readonly #listeners = new Set<GoneListener>();

  constructor(root: string, subscriptions: Subscriptions, logger: Logger) {
    this.#root = root;
    this.#subscriptions = subscriptions;
    this.#logger = logger;
  }

  /** undefined: nothing has been heard of it. */
  stateOf(device: string): Availability['state'] | undefined {
    return this.#states.get(device);
  }

  /** Called when a device that is followed says that it is not there. Returns a function that stops it. */
  onGone(listener: GoneListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** From now on. @throws LinkClosedError; a broker that refuses is a warning in the log. */
  async follow(device: string, link: Link): Promise<void> {
    if (this.#followed.has(device)) return;
    this.#followed.add(device);
    const receive = (_topic: string, value: unknown, isRetained: boolean): void => {
      const parsed = readPayload(busSchemas.availability, value);
      if (!parsed.success || parsed.data.device !== device) return;
      const { state } = parsed.data;
      this.#states.set(device, state);
      if (state !== 'online') for (const listener of [...this.#listeners]) listener(device, state, isRetained);
    };
    try {
      await this.#subscriptions.add({ filter: busTopics(this.#root, device).availability, receive }, link);
    } catch (error) {
      if (error instanceof LinkClosedError) {
        this.#followed.delete(device);
        throw error;
      }
      // Narrow access rules: the answer comes all the same.
      this.#logger.log('warn', `The broker does not let this client read the availability of ${device}`, {
        error: error instanceof Error ? error.message : String(error),
      });
    }
  }
}
