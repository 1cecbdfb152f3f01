import { randomUUID } from 'node:crypto';
import { type Logger, silentLogger } from 'scenebus';
import type { AnyDeviceEvent, DeviceEvent, EventBodies, EventKind } from './events.js';

/** Where events are kept before anybody is told of them. */
export interface EventRecorder {
  /**
   * Resolves when the event is kept as safely as it can be now; calls are settled in their order. Never rejects: what
   * cannot be kept is told of all the same.
   */
  record(event: AnyDeviceEvent): Promise<void>;
}

/** What an event is about. */
export interface EventAbout {
  readonly camera?: string | undefined;
  readonly frame?: DeviceEvent['frame'];
  /** false: nobody misses it later, for example the same state again. Default true. */
  readonly isKept?: boolean | undefined;
}

export interface EventHubOptions {
  readonly recorder?: EventRecorder | undefined;
  readonly logger?: Logger | undefined;
  /** Unix time, milliseconds. */
  readonly wallMs?: (() => number) | undefined;
  /** Part of every id; new with each start. */
  readonly run?: string | undefined;
}

type Listener<Kind extends EventKind> = (event: DeviceEvent<Kind>) => void;

/**
 * One place for all that happens. An event is recorded first, then told to everybody in the order in which events were
 * emitted. Nobody can hold up others: a listener returns at once, and one that throws is logged and forgiven.
 */
export class EventHub {
  readonly run: string;
  readonly #options: EventHubOptions;
  readonly #logger: Logger;
  // biome-ignore lint/suspicious/noExplicitAny: each kind has listeners of its own type, joined again by `on`
  readonly #listeners = new Map<EventKind, Set<Listener<any>>>();
  #count = 0;
  #told: Promise<void> = Promise.resolve();

  constructor(options: EventHubOptions = {}) {
    this.run = options.run ?? randomUUID().slice(0, 8);
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
  }

  /** Resolves when the event is recorded and everybody was told. Never rejects. */
  async emit<Kind extends EventKind>(
    kind: Kind,
    body: EventBodies[Kind],
    { camera, frame, isKept = true }: EventAbout = {},
  ): Promise<DeviceEvent<Kind>> {
    this.#count += 1;
    const event: DeviceEvent<Kind> = {
      id: `${this.run}-${String(this.#count).padStart(9, '0')}`,
      kind,
      atMs: (this.#options.wallMs ?? Date.now)(),
      camera,
      frame: frame && { id: frame.id, capturedAtMs: frame.capturedAtMs, width: frame.width, height: frame.height },
      body,
    };
    // Handed over at once, so that events of one moment are recorded together.
    const recorded = isKept ? this.#options.recorder?.record(event as AnyDeviceEvent) : undefined;
    this.#told = this.#tell(event, this.#told, recorded);
    await this.#told;
    return event;
  }

  /** Returns a function that ends it. */
  on<Kind extends EventKind>(kind: Kind, listener: Listener<Kind>): () => void {
    const listeners = this.#listeners.get(kind) ?? new Set();
    this.#listeners.set(kind, listeners);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** Resolves when everybody was told of all that was emitted so far. */
  idle(): Promise<void> {
    return this.#told;
  }

  async #tell<Kind extends EventKind>(
    event: DeviceEvent<Kind>,
    before: Promise<void>,
    recorded: Promise<void> | undefined,
  ): Promise<void> {
    await before;
    try {
      await recorded;
    } catch (error) {
      this.#logger.log('error', 'An event could not be recorded', { kind: event.kind, error: String(error) });
    }
    for (const listener of [...(this.#listeners.get(event.kind) ?? [])]) {
      try {
        listener(event);
      } catch (error) {
        this.#logger.log('error', `A listener for ${event.kind} events failed`, { error: String(error) });
      }
    }
  }
}
