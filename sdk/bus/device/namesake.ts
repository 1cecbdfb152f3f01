/** Notices another device with the same name. */
import type { Logger } from '../../core/logger.js';
import { decodeRequest } from '../contract/decoding.js';
import { availabilitySchema } from '../contract/schemas/index.js';
import type { IncomingMessage } from '../transport/link.js';

export class NamesakeWatch {
  /** Births of another device with this name. */
  conflicts = 0;
  readonly #device: string;
  readonly #run: string;
  readonly #logger: Logger;

  constructor(device: string, run: string, logger: Logger) {
    this.#device = device;
    this.#run = run;
    this.#logger = logger;
  }

  /**
   * Two devices with one name overwrite each other, and with one client id throw each other out. Not every broker says
   * so, but the other one's birth does. A birth that was retained before our first connect may be our own last run.
   */
  receive(message: IncomingMessage, isFirstConnect: boolean): void {
    if (message.retain && isFirstConnect) return;
    const decoded = decodeRequest(message.payload);
    const birth = availabilitySchema.safeParse(decoded.ok ? decoded.value : undefined);
    if (!birth.success || birth.data.state !== 'online' || birth.data.run === this.#run) return;
    this.conflicts += 1;
    this.#logger.log('error', `Another device has the same name ${this.#device}; give one of them another name`, {
      run: this.#run,
      otherRun: birth.data.run,
      topic: message.topic,
    });
  }
}
