/** The caller's side of the bus: ask devices, watch what they publish. No native code. */
import { randomUUID } from 'node:crypto';
import { SdkError } from '../../core/errors.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import type { CallOptions } from '../../core/types.js';
import { decodeRequest, describeIssues } from '../contract/decoding.js';
import {
  type AskRequest,
  type Availability,
  askRequestSchema,
  busSchemas,
  type CameraStatusPayload,
  type Health,
  type Info,
  type OkResponse,
  REQUEST_TIMEOUT_MS,
  type Scene,
} from '../contract/schemas/index.js';
import { busTopics, checkRoot, DEFAULT_ROOT, parseTopic, topicMatches } from '../contract/topics.js';
import { BusConnection } from '../transport/connection.js';
import { type IncomingMessage, type Link, LinkClosedError } from '../transport/link.js';
import type { BusState, ProtocolVersion } from '../transport/types.js';
import type { AskOptions, AskReply, BusClient, ClientOptions, Question, WatchOptions } from './client-types.js';
import { PendingAsks } from './pending-asks.js';
import { type Stamped, Watch } from './watch.js';

const DEFAULT_TIMEOUT_MS = 120_000;
const SESSION_EXPIRY_SECONDS = 60;

/**
 * Connects to the broker of some devices: MQTT 5, or 3.1.1 where the broker speaks no 5.
 *
 * @throws SdkError ERR_ARGUMENT_INVALID, ERR_BUS_UNREACHABLE, ERR_BUS_REJECTED
 * @example
 * await using client = await connectClient('mqtt://127.0.0.1:1883');
 * const { text, objects } = await client.ask('kitchen', 'Where is the red cup?', { timeoutMs: 30_000 });
 */
export async function connectClient(options: string | ClientOptions): Promise<BusClient> {
  const client = new MqttBusClient(typeof options === 'string' ? { url: options } : options);
  await client.start();
  return client;
}

interface Subscription {
  readonly filter: string;
  readonly receive: (topic: string, value: unknown, isRetained: boolean) => void;
}

class MqttBusClient implements BusClient {
  readonly #root: string;
  readonly #logger: Logger;
  readonly #connection: BusConnection;
  readonly #answerTopic: string;
  readonly #pending = new PendingAsks();
  readonly #subscriptions = new Set<Subscription>();
  readonly #watches = new Set<Watch<Stamped>>();
  readonly #presence = new Map<string, Availability['state']>();
  readonly #followed = new Set<string>();
  readonly #stateListeners = new Set<(state: BusState) => void>();
  #closing: Promise<void> | undefined;

  constructor(options: ClientOptions) {
    this.#root = checkRoot(options.root ?? DEFAULT_ROOT);
    this.#logger = options.logger ?? silentLogger;
    const id = randomUUID().slice(0, 13);
    this.#answerTopic = `${this.#root}/client/${id}/response`;
    this.#connection = new BusConnection(
      options,
      {
        clientId: options.clientId ?? `scenebus-client-${id}`,
        sessionExpirySeconds: SESSION_EXPIRY_SECONDS,
        will: undefined,
      },
      {
        onUp: (link) => this.#onUp(link),
        onDown: () => {},
        onMessage: (_link, message) => this.#receive(message),
        onState: (state) => {
          for (const listener of [...this.#stateListeners]) {
            try {
              listener(state);
            } catch (error) {
              this.#logger.log('error', 'A listener of the bus client failed', { error: String(error) });
            }
          }
        },
      },
    );
  }

  start(): Promise<void> {
    return this.#connection.start();
  }

  get state(): BusState {
    return this.#connection.state;
  }
  get protocolVersion(): ProtocolVersion | undefined {
    return this.#connection.link?.version;
  }
  get broker(): string {
    return this.#connection.address.shown;
  }

  async ask(device: string, question: string | Question, options: AskOptions = {}): Promise<AskReply> {
    this.#checkOpen();
    options.signal?.throwIfAborted();
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const topic = busTopics(this.#root, device).request('ask');
    const id = randomUUID();
    const request = askRequestSchema.safeParse({
      ...(typeof question === 'string' ? { question } : question),
      transaction: id,
      responseTopic: this.#answerTopic,
      timeoutMs,
    });
    if (!request.success) {
      throw new SdkError(
        'ERR_ARGUMENT_INVALID',
        `Expected a question and a timeoutMs of ${REQUEST_TIMEOUT_MS.min} to ${REQUEST_TIMEOUT_MS.max}, but ${describeIssues(request.error)}.`,
      );
    }
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(this.#timeout(device, timeoutMs)), timeoutMs);
    const signal = options.signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, options.signal]);
    const answer = this.#pending.wait(id, device, signal);
    try {
      // Both at once: an answer or a failure ends the wait even while sending hangs.
      const response = await Promise.race([answer, this.#deliver(device, topic, id, request.data, signal)]);
      return reply(response ?? (await answer));
    } finally {
      clearTimeout(timer);
      // Ends whichever of the two still runs; its rejection has a handler in the race.
      deadline.abort(new SdkError('ERR_BUS_TIMEOUT', 'The question was given up.'));
    }
  }

  scenes(device: string, options: WatchOptions = {}): AsyncIterableIterator<Scene> {
    return this.#watch(
      this.#filter(device, `camera/${cameraLevel(options)}/scene`),
      busSchemas.scene,
      options,
      isFresh,
    );
  }
  cameraStatuses(device: string, options: WatchOptions = {}): AsyncIterableIterator<CameraStatusPayload> {
    return this.#watch(this.#filter(device, `camera/${cameraLevel(options)}/status`), busSchemas.cameraStatus, options);
  }
  availability(device: string, options: CallOptions = {}): AsyncIterableIterator<Availability> {
    return this.#watch(this.#filter(device, 'availability'), busSchemas.availability, options);
  }
  info(device: string, options: CallOptions = {}): AsyncIterableIterator<Info> {
    return this.#watch(this.#filter(device, 'info'), busSchemas.info, options);
  }
  health(device: string, options: CallOptions = {}): AsyncIterableIterator<Health> {
    return this.#watch(this.#filter(device, 'health'), busSchemas.health, options);
  }

  onStateChange(listener: (state: BusState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#pending.failAll(new SdkError('ERR_DISPOSED', 'The bus client is closed.'));
    for (const watch of this.#watches) watch.end();
    await this.#connection.close(async () => {});
  }

  async #onUp(link: Link): Promise<void> {
    await link.subscribe(this.#answerTopic);
    for (const filter of new Set([...this.#subscriptions].map((subscription) => subscription.filter))) {
      await link.subscribe(filter);
    }
  }

  /** Sends the question, again after a lost connection; both have the same id, and the first answer counts. */
  async #deliver(
    device: string,
    topic: string,
    id: string,
    request: AskRequest,
    signal: AbortSignal,
  ): Promise<undefined> {
    for (;;) {
      const link = await this.#online(signal);
      try {
        await this.#followPresence(device, link);
        const presence = this.#presence.get(device);
        if (presence === 'offline' || presence === 'stopped') throw this.#absent(device, `it is ${presence}`);
        const { unheard } = await link.publish(topic, JSON.stringify(request), {
          retain: false,
          properties: {
            responseTopic: this.#answerTopic,
            correlationData: Buffer.from(id),
            messageExpiryInterval: Math.max(1, Math.ceil((request.timeoutMs ?? DEFAULT_TIMEOUT_MS) / 1000)),
            payloadFormatIndicator: true,
            contentType: 'application/json',
          },
        });
        if (unheard) throw this.#absent(device, 'nobody listens to its request topic');
        return undefined;
      } catch (error) {
        if (!(error instanceof LinkClosedError)) throw error;
      }
    }
  }

  /** The device's availability, from the first question on: the only way on 3.1.1 to learn that nobody listens. */
  async #followPresence(device: string, link: Link): Promise<void> {
    if (this.#followed.has(device)) return;
    this.#followed.add(device);
    const subscription: Subscription = {
      filter: busTopics(this.#root, device).availability,
      receive: (_topic, value, isRetained) => {
        const parsed = busSchemas.availability.safeParse(value);
        if (!parsed.success || parsed.data.device !== device) return;
        const { state } = parsed.data;
        this.#presence.set(device, state);
        // A device that goes offline now may come back and still answer; a stopped or long absent one will not.
        if (state === 'stopped' || (state === 'offline' && isRetained)) {
          this.#pending.failDevice(device, this.#absent(device, `it is ${state}`));
        }
      },
    };
    try {
      await this.#subscribe(subscription, link);
    } catch (error) {
      this.#followed.delete(device);
      throw error;
    }
  }

  async #subscribe(subscription: Subscription, link: Link | undefined): Promise<void> {
    this.#subscriptions.add(subscription);
    try {
      // Always asked for again, because that brings the retained messages.
      await link?.subscribe(subscription.filter);
    } catch (error) {
      // Lost meanwhile: #onUp asks for all of them.
      if (error instanceof LinkClosedError) return;
      this.#subscriptions.delete(subscription);
      throw error;
    }
  }

  async *#watch<T extends Stamped>(
    filter: string,
    schema: { safeParse(value: unknown): { success: true; data: T } | { success: false; error: unknown } },
    options: CallOptions,
    accept: (value: T, isRetained: boolean) => boolean = () => true,
  ): AsyncIterableIterator<T> {
    this.#checkOpen();
    options.signal?.throwIfAborted();
    const watch = new Watch<T>();
    const subscription: Subscription = {
      filter,
      receive: (topic, value, isRetained) => {
        const parsed = schema.safeParse(value);
        if (parsed.success && accept(parsed.data, isRetained)) watch.push(topic, parsed.data);
        else if (!parsed.success)
          this.#logger.log('debug', 'Skipped a message that does not fit its schema', { topic });
      },
    };
    this.#watches.add(watch as Watch<Stamped>);
    try {
      await this.#subscribe(subscription, this.#connection.link);
      for (;;) {
        const value = await watch.next(options.signal);
        if (value === undefined) return;
        yield value;
      }
    } finally {
      this.#watches.delete(watch as Watch<Stamped>);
      this.#subscriptions.delete(subscription);
      const isShared = [...this.#subscriptions].some((other) => other.filter === filter);
      if (!isShared) await this.#connection.link?.unsubscribe(filter).catch(() => {});
    }
  }

  #receive(message: IncomingMessage): void {
    if (message.payload.length === 0) return;
    const decoded = decodeRequest(message.payload);
    if (!decoded.ok) {
      this.#logger.log('debug', 'Skipped a message that is not JSON', { topic: message.topic });
      return;
    }
    if (message.topic === this.#answerTopic) {
      const parsed = busSchemas.response.safeParse(decoded.value);
      const isExpected =
        parsed.success &&
        this.#pending.answer(message.properties.correlationData?.toString() ?? parsed.data.transaction, parsed.data);
      if (!isExpected) this.#logger.log('debug', 'Skipped an answer that nobody waits for', { topic: message.topic });
      return;
    }
    if (parseTopic(this.#root, message.topic) === undefined) return;
    for (const subscription of this.#subscriptions) {
      if (topicMatches(subscription.filter, message.topic)) {
        subscription.receive(message.topic, decoded.value, message.retain);
      }
    }
  }

  async #online(signal: AbortSignal): Promise<Link> {
    for (;;) {
      signal.throwIfAborted();
      this.#checkOpen();
      const { link } = this.#connection;
      if (link !== undefined) return link;
      await new Promise<void>((resolve) => {
        const stop = this.onStateChange(() => finish());
        const finish = (): void => {
          stop();
          signal.removeEventListener('abort', finish);
          resolve();
        };
        signal.addEventListener('abort', finish);
      });
    }
  }

  #filter(device: string, rest: string): string {
    if (device === '*') return `${this.#root}/+/${rest}`;
    return `${this.#root}/${busTopics(this.#root, device).device}/${rest}`;
  }

  #checkOpen(): void {
    if (this.state === 'closed') throw new SdkError('ERR_DISPOSED', 'The bus client is closed.');
  }

  #timeout(device: string, timeoutMs: number): SdkError {
    const presence = this.#presence.get(device);
    const hint =
      this.state === 'online'
        ? presence === undefined
          ? 'no device of that name has been seen: check the name and the topic root'
          : `the device says ${presence}; ask again or allow more time`
        : `the broker ${this.broker} cannot be reached`;
    return new SdkError('ERR_BUS_TIMEOUT', `No answer from ${device} within ${timeoutMs} ms; ${hint}.`, {
      details: { device, timeoutMs },
    });
  }

  #absent(device: string, why: string): SdkError {
    return new SdkError(
      'ERR_BUS_UNREACHABLE',
      `The device ${device} does not answer at ${this.broker}: ${why}. Check that it runs, its name and the topic root.`,
      { details: { device } },
    );
  }
}

function cameraLevel(options: WatchOptions): string {
  if (options.camera === undefined) return '+';
  // Only for its check: a camera id with a wildcard would watch others as well.
  return busTopics(DEFAULT_ROOT, 'any').cameraScene(options.camera).split('/')[3] ?? '+';
}

/** MQTT 3.1.1 brokers keep stale scenes for ever. */
function isFresh(scene: Scene, isRetained: boolean): boolean {
  return !isRetained || Date.parse(scene.expiresTs) > Date.now();
}

function reply(response: OkResponse): AskReply {
  const { data, device, camera, frameId, frameTs, model, generatedByModel } = response;
  return { ...data, device, ...(camera === undefined ? {} : { camera }), frameId, frameTs, model, generatedByModel };
}
