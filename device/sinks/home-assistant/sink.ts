/** Tells Home Assistant what there is on this device: one retained message, which its MQTT integration understands. */
import { isDeepStrictEqual } from 'node:util';
import { isSdkError, type Logger } from 'scenebus';
import type { Bus, OutwardTopic, WatchDefinition } from 'scenebus/bus';
import type { EventHub } from '../../events/hub.js';
import { discoveryMessage, isTold, type Platform } from './discovery.js';
import { deviceIdOf } from './names.js';

/** What was announced, over restarts: what is gone since is taken away. */
export interface Announced {
  readonly prefix: string;
  readonly levels: readonly string[];
  readonly components: Readonly<Record<string, Platform>>;
  readonly metrics: readonly string[];
}

export interface HomeAssistantOptions {
  readonly hub: EventHub;
  readonly bus: Bus;
  readonly logger: Logger;
  /** undefined: nothing is announced, and what was is taken away. */
  readonly discoveryPrefix: string | undefined;
  readonly sceneExpirySeconds: () => number;
  readonly before: Announced | undefined;
  readonly keep: (announced: Announced | undefined) => Promise<void>;
  /** Pause before an answer to a birth, milliseconds: many devices must not all answer in one moment. */
  readonly birthPauseMs?: (() => number) | undefined;
}

/** Changes of one moment become one message. */
const SETTLE_MS = 100;
const BIRTH_PAUSE_MS = 2_000;
/** Components that are gone stay in the message, for a Home Assistant that was not there when they went. */
const MAX_GONE = 256;
const MAX_METRICS = 32;

/** Where the discovery message of a device goes. */
export function discoveryPlace(discoveryPrefix: string, root: string, device: string): OutwardTopic {
  return { prefix: `${discoveryPrefix}/device`, levels: [deviceIdOf(root, device), 'config'] };
}

/** Where Home Assistant says that it has started ("Birth and last will messages" of its documentation). */
export function birthTopic(discoveryPrefix: string): string {
  return `${discoveryPrefix}/status`;
}

export class HomeAssistantSink implements AsyncDisposable {
  readonly #options: HomeAssistantOptions;
  readonly #place: OutwardTopic | undefined;
  readonly #stops: (() => void)[];
  #cameras: readonly string[] | undefined;
  #watches: readonly WatchDefinition[] | undefined;
  #metrics: readonly string[];
  #model: string | undefined;
  #known: ReadonlyMap<string, Platform>;
  #timer: NodeJS.Timeout | undefined;
  #birthTimer: NodeJS.Timeout | undefined;
  #isRemoved = false;

  constructor(options: HomeAssistantOptions) {
    const { hub, bus, discoveryPrefix: prefix, before } = options;
    const { root, device } = bus.topics;
    this.#options = options;
    this.#place = prefix === undefined ? undefined : discoveryPlace(prefix, root, device);
    const isSame = before !== undefined && isDeepStrictEqual(placeOf(before), this.#place);
    this.#known = new Map(isSame ? Object.entries(before.components) : []);
    this.#metrics = isSame ? before.metrics : [];
    this.#isRemoved = before === undefined || isSame;
    this.#stops = [bus.onStateChange(() => this.#removeBefore())];
    this.#removeBefore();
    if (prefix === undefined) return;
    this.#stops.push(
      hub.on('info', ({ body: { cameras, model } }) => {
        this.#cameras = cameras;
        this.#model = model?.id;
        this.#announceSoon();
      }),
      hub.on('watches', ({ body: { watches } }) => {
        this.#watches = watches;
        this.#announceSoon();
      }),
      hub.on('health', ({ body: { metrics = {} } }) => {
        const all = [...new Set([...this.#metrics, ...Object.keys(metrics).filter(isTold)])].slice(0, MAX_METRICS);
        if (all.length === this.#metrics.length) return;
        this.#metrics = all;
        this.#announceSoon();
      }),
      bus.onOutward((topic, text) => {
        if (topic === birthTopic(prefix) && text === 'online') this.#answerBirth();
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops) stop();
    clearTimeout(this.#timer);
    clearTimeout(this.#birthTimer);
  }

  /** Not before all is known: what is missing would be taken away, with what its owner has made of it. */
  #announceSoon(): void {
    if (!this.#isRemoved || this.#cameras === undefined || this.#watches === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#announce(), SETTLE_MS);
    this.#timer.unref();
  }

  /** However often it is said: once. */
  #answerBirth(): void {
    if (this.#birthTimer !== undefined) return;
    const pauseMs = this.#options.birthPauseMs?.() ?? Math.random() * BIRTH_PAUSE_MS;
    this.#birthTimer = setTimeout(() => {
      this.#birthTimer = undefined;
      this.#announceSoon();
    }, pauseMs);
    this.#birthTimer.unref();
  }

  async #announce(): Promise<void> {
    const { bus, keep, logger, sceneExpirySeconds } = this.#options;
    const place = this.#place!;
    const message = discoveryMessage({
      topics: bus.topics,
      cameras: this.#cameras ?? [],
      watches: this.#watches ?? [],
      metrics: this.#metrics,
      model: this.#model,
      sceneExpirySeconds: sceneExpirySeconds(),
      known: this.#known,
    });
    const there = Object.entries(message.cmps).filter(([, component]) => Object.keys(component).length > 1);
    const gone = Object.entries(message.cmps).filter(([, component]) => Object.keys(component).length === 1);
    this.#known = new Map([...gone.slice(-MAX_GONE), ...there].map(([id, { p }]) => [id, p]));
    await keep({ ...place, components: Object.fromEntries(this.#known), metrics: this.#metrics });
    try {
      await bus.publishOutward(place, message, { retain: true });
    } catch (error) {
      if (isSdkError(error, 'ERR_DISPOSED')) return;
      logger.log('warn', 'Home Assistant could not be told of this device', { error: String(error) });
    }
  }

  /** What an earlier run announced elsewhere, or while it was asked to. */
  #removeBefore(): void {
    const { bus, before, keep, logger } = this.#options;
    if (this.#isRemoved || before === undefined || bus.state !== 'online') return;
    this.#isRemoved = true;
    bus.removeOutward(placeOf(before)).then(
      async () => {
        logger.log('info', 'Home Assistant no longer knows what this device announced before');
        if (this.#place === undefined) await keep(undefined);
        else this.#announceSoon();
      },
      (error: unknown) => {
        this.#isRemoved = isSdkError(error, 'ERR_BUS_REJECTED');
        logger.log('warn', 'What Home Assistant was told before could not be removed', { error: String(error) });
      },
    );
  }
}

function placeOf({ prefix, levels }: Announced): OutwardTopic {
  return { prefix, levels };
}
