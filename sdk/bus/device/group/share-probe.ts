/**
 * Whether the broker gives a message of a shared subscription to exactly one member. Its grant says nothing: RabbitMQ,
 * NATS and Aedes grant `$share/…` and deliver nothing, and two brokers with a bridge deliver to one member each.
 */
import { randomId } from '../../transport/random-id.js';

/** For the first to hear it. */
const FIRST_MS = 1_500;
/** For a second one, behind a bridge. */
const SECOND_MS = 400;

export class ShareProbe {
  readonly #heard = new Map<string, { readonly ids: Set<string>; readonly wake: () => void }>();

  /** @param send publishes a probe with this nonce. @returns true when exactly one member heard it. */
  async run(send: (nonce: string) => Promise<unknown>): Promise<boolean> {
    const nonce = randomId(12);
    const ids = new Set<string>();
    let timer: NodeJS.Timeout | undefined;
    const end = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FIRST_MS);
      const wake = (): void => {
        if (ids.size > 1) resolve();
        else if (ids.size === 1) {
          clearTimeout(timer);
          timer = setTimeout(resolve, SECOND_MS);
        }
      };
      this.#heard.set(nonce, { ids, wake });
    });
    try {
      await send(nonce);
      await end;
      return ids.size === 1;
    } finally {
      clearTimeout(timer);
      this.#heard.delete(nonce);
    }
  }

  hear(nonce: string, id: string): void {
    const probe = this.#heard.get(nonce);
    if (probe === undefined || probe.ids.has(id)) return;
    probe.ids.add(id);
    probe.wake();
  }
}
