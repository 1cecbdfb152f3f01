/** Keeps one connection to a broker: version negotiation, reconnecting with backoff and jitter. */
import { SdkError } from '../../core/errors.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import { type BrokerAddress, parseBrokerUrl } from './broker-url.js';
import { type IncomingMessage, type Link, openLink, SESSION_TAKEN_OVER } from './link.js';
import { LinkError, type WillMessage } from './link-options.js';
import { sleep } from './sleep.js';
import type { Backoff, BusState, ConnectionOptions, ProtocolVersion } from './types.js';

export interface ConnectionHooks {
  /** Subscriptions and first messages. The connection counts as online when this resolves. */
  readonly onUp: (link: Link) => Promise<void>;
  readonly onDown: () => void;
  readonly onMessage: (link: Link, message: IncomingMessage) => void;
  readonly onState: (state: BusState) => void;
}

export interface ConnectionSetup {
  readonly clientId: string;
  readonly sessionExpirySeconds: number;
  /** Asked before each attempt, because a will carries the time. */
  readonly will: (() => WillMessage) | undefined;
}

const DEFAULTS = {
  keepaliveSeconds: 30,
  connectTimeoutMs: 10_000,
  backoff: { initialMs: 500, maxMs: 30_000 },
} as const;
/** A connection that lived shorter did not work: the pause goes on growing. */
const STABLE_AFTER_MS = 5_000;
/** Two devices with one name throw each other out; without this pause they would do it many times a second. */
const TAKEN_OVER_PAUSE_MS = 10_000;
const CLOSE_TIMEOUT_MS = 3_000;

export class BusConnection {
  readonly #addresses: readonly BrokerAddress[];
  /** Which of them is used, or was last. */
  #current = 0;
  readonly #options: ConnectionOptions;
  readonly #setup: ConnectionSetup;
  readonly #hooks: ConnectionHooks;
  readonly #logger: Logger;
  readonly #life = new AbortController();
  #state: BusState = 'connecting';
  #link: Link | undefined;
  #version: ProtocolVersion | undefined;
  #loop: Promise<void> | undefined;
  #connects = 0;
  #disconnects = 0;
  #lastFailure = '';
  #failure: SdkError | undefined;

  /** @throws SdkError ERR_ARGUMENT_INVALID for an address or option that cannot work. */
  constructor(options: ConnectionOptions, setup: ConnectionSetup, hooks: ConnectionHooks) {
    this.#addresses = [options.url, ...(options.alternatives ?? [])].map(parseBrokerUrl);
    this.#options = options;
    this.#setup = setup;
    this.#hooks = hooks;
    this.#logger = options.logger ?? silentLogger;
  }

  /** The node that is used, or was tried last. */
  get address(): BrokerAddress {
    return this.#addresses[this.#current] as BrokerAddress;
  }
  get state(): BusState {
    return this.#state;
  }
  get link(): Link | undefined {
    return this.#state === 'online' ? this.#link : undefined;
  }
  /** Why the last attempt failed; undefined: none has since the connection worked. */
  get failure(): SdkError | undefined {
    return this.#failure;
  }
  get connects(): number {
    return this.#connects;
  }
  get disconnects(): number {
    return this.#disconnects;
  }

  /** First connection as `waitForBroker` says, then the loop that keeps it. */
  async start(): Promise<void> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    if (this.#options.waitForBroker === false) {
      this.#loop = this.#keep(undefined);
      return;
    }
    try {
      const link = await this.#attempt(signal);
      this.#loop = this.#keep(link);
    } catch (error) {
      this.#setState('closed');
      throw signal?.aborted ? signal.reason : this.#asSdkError(error);
    }
  }

  /** Ends the connection after `beforeClose`, which may take a few seconds; then the loop is over. Idempotent. */
  async close(beforeClose: (link: Link) => Promise<void>): Promise<void> {
    if (!this.#life.signal.aborted) {
      const link = this.link;
      this.#setState('closed');
      this.#life.abort(new SdkError('ERR_DISPOSED', 'The bus is closed.'));
      if (link !== undefined) {
        const closing = beforeClose(link).then(
          () => link.end(),
          (error: unknown) =>
            this.#logger.log('warn', 'Could not close the connection to the broker cleanly', { error: text(error) }),
        );
        await Promise.race([closing, sleep(CLOSE_TIMEOUT_MS, { isBackground: true })]);
        link.destroy();
      }
    }
    await this.#loop;
  }

  async #keep(first: Link | undefined): Promise<void> {
    const life = this.#life.signal;
    const backoff = this.#options.backoff ?? DEFAULTS.backoff;
    let link = first;
    /** By the monotonic clock; undefined while a connection has proven to work. */
    let outageSinceMs: number | undefined;
    while (!life.aborted) {
      let pauseAtLeastMs = 0;
      if (link === undefined) {
        try {
          link = await this.#attempt(life);
        } catch (error) {
          if (life.aborted) break;
          this.#fail(this.#asSdkError(error));
        }
      }
      if (link !== undefined) {
        const sinceMs = performance.now();
        const { reasonCode } = await link.closed;
        if (!life.aborted) this.#down(reasonCode);
        else this.#hooks.onDown();
        link = undefined;
        if (performance.now() - sinceMs >= STABLE_AFTER_MS) outageSinceMs = undefined;
        if (reasonCode === SESSION_TAKEN_OVER) pauseAtLeastMs = TAKEN_OVER_PAUSE_MS;
      }
      if (life.aborted) break;
      outageSinceMs ??= performance.now();
      const ceilingMs = pauseCeilingMs(performance.now() - outageSinceMs, backoff);
      // Half fixed, half random: after a broker restart a fleet does not come back in step.
      const pauseMs = Math.max(pauseAtLeastMs, ceilingMs * (0.5 + 0.5 * Math.random()));
      await sleep(pauseMs, { signal: life });
    }
  }

  #down(reasonCode: number | undefined): void {
    this.#disconnects += 1;
    this.#link = undefined;
    this.#setState('offline');
    this.#hooks.onDown();
    if (reasonCode === SESSION_TAKEN_OVER) {
      this.#logger.log(
        'error',
        'Another client with the same client id took over this session: do two devices share a name?',
        {
          clientId: this.#setup.clientId,
        },
      );
    } else {
      this.#logger.log('warn', 'Lost the connection to the broker; reconnecting', {
        broker: this.address.shown,
        ...(reasonCode === undefined ? {} : { reasonCode }),
      });
    }
  }

  /** One round over the versions that may work, and the first messages. */
  async #attempt(signal: AbortSignal | undefined): Promise<Link> {
    const link = await this.#negotiate(signal);
    this.#link = link;
    try {
      await this.#hooks.onUp(link);
    } catch (error) {
      this.#link = undefined;
      link.destroy();
      this.#hooks.onDown();
      throw error;
    }
    if (signal?.aborted) {
      link.destroy();
      throw signal.reason;
    }
    this.#connects += 1;
    this.#lastFailure = '';
    this.#failure = undefined;
    this.#setState('online');
    this.#logger.log('info', 'Connected to the broker', {
      broker: this.address.shown,
      protocol: link.version === 5 ? 'MQTT 5' : 'MQTT 3.1.1',
    });
    return link;
  }

  /** The node that worked last, then the others in turn. */
  async #negotiate(signal: AbortSignal | undefined): Promise<Link> {
    for (let tried = 1; ; tried += 1) {
      try {
        return await this.#negotiateVersion(signal);
      } catch (error) {
        if (tried === this.#addresses.length || signal?.aborted) throw error;
        this.#logger.log('debug', 'Tries another node of the cluster', {
          failed: this.address.shown,
          error: text(error),
        });
        this.#current = (this.#current + 1) % this.#addresses.length;
      }
    }
  }

  async #negotiateVersion(signal: AbortSignal | undefined): Promise<Link> {
    const wanted = this.#options.protocolVersion;
    if (wanted !== undefined) return this.#open(wanted, signal);
    const order: readonly ProtocolVersion[] = this.#version === 4 ? [4, 5] : [5, 4];
    let failure: unknown;
    for (const version of order) {
      try {
        const link = await this.#open(version, signal);
        this.#version = version;
        return link;
      } catch (error) {
        // The second failure says more only when it is not about the version again.
        const mayBeVersion = error instanceof LinkError && (error.kind === 'protocol' || error.kind === 'silent');
        failure = failure === undefined || !mayBeVersion ? error : failure;
        if (!mayBeVersion) break;
      }
    }
    throw failure;
  }

  #open(version: ProtocolVersion, signal: AbortSignal | undefined): Promise<Link> {
    const options = this.#options;
    return openLink(
      {
        address: this.address,
        version,
        clientId: this.#setup.clientId,
        username: options.username ?? this.address.username,
        password: options.password ?? this.address.password,
        tls: options.tls,
        keepaliveSeconds: options.keepaliveSeconds ?? DEFAULTS.keepaliveSeconds,
        connectTimeoutMs: options.connectTimeoutMs ?? DEFAULTS.connectTimeoutMs,
        will: this.#setup.will?.(),
        sessionExpirySeconds: this.#setup.sessionExpirySeconds,
        onMessage: this.#hooks.onMessage,
      },
      signal,
    );
  }

  #fail(error: SdkError): void {
    const isNew = this.#failure?.message !== error.message;
    this.#failure = error;
    // Offline as before, and for another reason.
    if (this.#state === 'offline' && isNew) this.#hooks.onState('offline');
    else this.#setState('offline');
    this.#logFailure(error);
  }

  #setState(state: BusState): void {
    if (this.#state === state || this.#state === 'closed') return;
    this.#state = state;
    this.#hooks.onState(state);
  }

  /** The same failure every few seconds is said once; what changes is said again. */
  #logFailure(error: SdkError): void {
    const level = error.message === this.#lastFailure ? 'debug' : 'warn';
    this.#lastFailure = error.message;
    this.#logger.log(level, `${error.message} Trying again in the background.`, { code: error.code });
  }

  /** For programs, not for the people who read the message. In the background it is tried anyway. */
  get #hint(): { readonly hint?: string } {
    if (this.#options.waitForBroker === false || this.#loop !== undefined) return {};
    return { hint: 'With waitForBroker: false the connection is tried in the background until it works.' };
  }

  #asSdkError(error: unknown): SdkError {
    if (error instanceof SdkError) return error;
    const { shown } = this.address;
    const details = { broker: shown };
    if (error instanceof LinkError) {
      switch (error.kind) {
        case 'refused':
          return new SdkError('ERR_BUS_REJECTED', error.message, { details });
        case 'tls':
          return new SdkError(
            'ERR_BUS_REJECTED',
            `${error.message} Check the address (mqtts needs the TLS port), the CA file and the certificate's name.`,
            { details, cause: error.cause },
          );
        case 'protocol':
          return new SdkError(
            'ERR_BUS_REJECTED',
            `${error.message} Expected a broker that speaks MQTT 5 or 3.1.1${
              this.#options.protocolVersion === undefined ? '' : '; leave protocolVersion out to try both'
            }.`,
            { details },
          );
        default:
          return new SdkError('ERR_BUS_UNREACHABLE', `${error.message} Start the broker or correct the address.`, {
            details: { ...details, ...this.#hint },
            cause: error.cause,
          });
      }
    }
    return new SdkError('ERR_BUS_UNREACHABLE', `The connection to ${shown} failed: ${text(error)}.`, {
      details,
      cause: error,
    });
  }
}

/** A quarter of what the outage has lasted: a device is back soon after a short one, and hardly asks during a long one. */
export function pauseCeilingMs(outageMs: number, { initialMs, maxMs }: Backoff): number {
  return Math.min(maxMs, Math.max(initialMs, outageMs / 4));
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
