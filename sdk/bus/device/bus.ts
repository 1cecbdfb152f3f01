/** The device's side: presence, states, scenes, and questions answered. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock, systemClock } from '../../core/clock.js';
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import { decodeRequest } from '../contract/decoding.js';
import { toInstant } from '../contract/schemas/common.js';
import { type AskRequest, askRequestSchema, availabilitySchema, SCHEMA_IDS } from '../contract/schemas/index.js';
import { type BusTopics, busTopics, checkRoot, DEFAULT_ROOT } from '../contract/topics.js';
import { BusConnection } from '../transport/connection.js';
import { type IncomingMessage, type Link, LinkClosedError, type PublishProperties } from '../transport/link.js';
import { Outbox, type OutboxMessage } from '../transport/outbox.js';
import type { BusState, ProtocolVersion, PublishResult } from '../transport/types.js';
import { answerOf, PayloadStamper, provenanceOf } from './payloads.js';
import { type Reply, RequestServer, type Verb } from './request-server.js';
import { responseMessage } from './responses.js';
import type {
  AskHandler,
  AskResult,
  Bus,
  BusOptions,
  BusStats,
  CameraStatusInput,
  HealthInput,
  InfoInput,
  PublishedMessage,
  SceneInput,
} from './types.js';

const DEFAULTS = { sceneExpirySeconds: 300, willDelaySeconds: 5, requestTimeoutMs: 120_000 } as const;
/** The broker keeps our session over short breaks, so that a question asked meanwhile still arrives. */
const SESSION_EXPIRY_SECONDS = 60;
/** Unacknowledged messages: enough to fill a slow link, too few to flood a broker that has just come back. */
const SEND_WINDOW = 16;
const MAX_STATE_TOPICS = 1024;
/** For answers on their way when the bus closes; `stopped` goes out afterwards in any case. */
const LAST_MESSAGES_TIMEOUT_MS = 1_500;
const LOSS_LOG_EVERY_MS = 10_000;

const RANK = { info: 0, health: 1, cameraStatus: 2, scene: 3 } as const;

/**
 * Connects a device to a broker: MQTT 5, or 3.1.1 where the broker speaks no 5. With Mosquitto set
 * `set_tcp_nodelay true` in its configuration: without it every answer waits 40 ms for a delayed acknowledgement.
 *
 * @throws SdkError ERR_ARGUMENT_INVALID (address, root, device name), ERR_BUS_UNREACHABLE (no broker there; with
 *   `waitForBroker: false` it is tried in the background instead), ERR_BUS_REJECTED (credentials, access rules, TLS).
 * @example
 * await using bus = await connectBus({ url: 'mqtt://127.0.0.1:1883', device: 'kitchen' });
 * bus.onAsk(async ({ question }) => ({ frame, answer: await model.ask(frame, question), model: { id: 'demo' } }));
 * await bus.publishScene('cam0', { frame, answer, model: { id: 'demo' } });
 */
export async function connectBus(options: BusOptions): Promise<Bus> {
  const bus = new MqttBus(options);
  await bus.start();
  return bus;
}

class MqttBus implements Bus {
  readonly topics: BusTopics;
  readonly #options: BusOptions;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #stamper: PayloadStamper;
  readonly #outbox: Outbox;
  readonly #requests: RequestServer;
  readonly #connection: BusConnection;
  readonly #ask: Verb<AskRequest, AskResult>;
  readonly #stateListeners = new Set<(state: BusState) => void>();
  readonly #publishedListeners = new Set<(message: PublishedMessage) => void>();
  #nameConflicts = 0;
  #lastLossLogMs = Number.NEGATIVE_INFINITY;
  #closing: Promise<void> | undefined;

  constructor(options: BusOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    this.topics = busTopics(checkRoot(options.root ?? DEFAULT_ROOT), options.device);
    this.#clock = options.clock ?? systemClock;
    const now = () => this.#clock.monotonicMs();
    this.#stamper = new PayloadStamper(options.device, () => this.#clock.wallMs());
    this.#outbox = new Outbox({
      queueLength: options.offlineQueueLength ?? LIMITS.busOfflineQueueLength,
      maxStates: MAX_STATE_TOPICS,
      isLost: (error) => error instanceof LinkClosedError,
      onDelivered: (message) => this.#announce(message.topic, message.value, message.kind === 'state'),
      onLoss: (message, why, error) => this.#logLoss(message, why, error),
      now,
    });
    this.#requests = new RequestServer({
      topics: this.topics,
      responseTopics: options.responseTopics ?? [`${this.topics.root}/#`],
      defaultTimeoutMs: options.requestTimeoutMs ?? DEFAULTS.requestTimeoutMs,
      maxActive: options.requestQueueLength ?? LIMITS.requestQueueLength,
      reply: (reply) => this.#reply(reply),
      logger: this.#logger,
      now,
    });
    this.#ask = { schema: askRequestSchema, handler: undefined };
    this.#requests.register('ask', this.#ask);
    this.#connection = new BusConnection(
      options,
      {
        // The same after a restart: the broker then ends a half-open old connection instead of keeping two.
        clientId: options.clientId ?? `${this.topics.root}-${options.device}`.replaceAll('/', '-'),
        sessionExpirySeconds: Math.max(SESSION_EXPIRY_SECONDS, this.#willDelaySeconds),
        will: () => ({
          topic: this.topics.availability,
          payload: JSON.stringify(
            this.#stamper.makeUnnumbered('availability', this.topics.availability, { state: 'offline' }),
          ),
          delaySeconds: this.#willDelaySeconds,
        }),
      },
      {
        onUp: (link) => this.#onUp(link),
        onDown: () => this.#outbox.detach(),
        onMessage: (_link, message) => {
          try {
            if (message.topic === this.topics.availability) this.#checkNamesake(message);
            else this.#requests.handle(message);
          } catch (error) {
            // Nothing that a stranger sends may take the service down.
            this.#logger.log('error', 'A request could not be handled', { topic: message.topic, error: String(error) });
          }
        },
        onState: (state) => this.#tell(this.#stateListeners, state),
      },
    );
  }

  get #willDelaySeconds(): number {
    return this.#options.willDelaySeconds ?? DEFAULTS.willDelaySeconds;
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
  get run(): string {
    return this.#stamper.run;
  }
  get broker(): string {
    return this.#connection.address.shown;
  }

  get stats(): BusStats {
    const out = this.#outbox.counters;
    const requests = this.#requests.counters;
    return {
      connects: this.#connection.connects,
      disconnects: this.#connection.disconnects,
      published: out.delivered,
      publishFailures: out.refused,
      superseded: out.superseded,
      droppedQueueFull: out.droppedQueueFull,
      droppedExpired: out.droppedExpired,
      queued: this.#outbox.length,
      requestsReceived: requests.received,
      requestsAnswered: requests.answered,
      requestsFailed: requests.failed,
      requestsRefused: requests.refused,
      requestsExpired: requests.expired,
      requestsBusy: requests.busy,
      requestsDuplicate: requests.duplicate,
      responseTopicsRefused: requests.responseTopicsRefused,
      requestsActive: this.#requests.active,
      nameConflicts: this.#nameConflicts,
    };
  }

  publishInfo(info: InfoInput): Promise<PublishResult> {
    return this.#publishState('info', this.topics.info, {
      ...info,
      schemas: Object.values(SCHEMA_IDS),
      verbs: this.#requests.verbs,
      limits: {
        requestBytes: LIMITS.busRequestBytes,
        questionCharacters: LIMITS.questionCharacters,
        requestQueueLength: this.#options.requestQueueLength ?? LIMITS.requestQueueLength,
        requestTimeoutMs: this.#options.requestTimeoutMs ?? DEFAULTS.requestTimeoutMs,
        sceneExpirySeconds: this.#sceneExpirySeconds,
        ...info.limits,
      },
    });
  }

  publishHealth(health: HealthInput): Promise<PublishResult> {
    return this.#publishState('health', this.topics.health, health);
  }

  async publishCameraStatus(cameraId: string, status: CameraStatusInput): Promise<PublishResult> {
    return this.#publishState('cameraStatus', this.topics.cameraStatus(cameraId), { ...status, camera: cameraId });
  }

  async publishScene(cameraId: string, scene: SceneInput): Promise<PublishResult> {
    const lifeMs = this.#sceneExpirySeconds * 1000;
    const fields = {
      ...provenanceOf(scene, cameraId),
      ...answerOf(scene),
      ...(scene.trigger === undefined ? {} : { trigger: scene.trigger }),
      expiresTs: toInstant(this.#clock.wallMs() + lifeMs),
    };
    return this.#publishState('scene', this.topics.cameraScene(cameraId), fields, this.#clock.monotonicMs() + lifeMs);
  }

  async removeCamera(cameraId: string): Promise<void> {
    const { link } = this.#connection;
    if (link === undefined) {
      throw new SdkError(
        'ERR_BUS_UNREACHABLE',
        `The messages of ${cameraId} stay on ${this.broker} while it cannot be reached; remove the camera again later.`,
      );
    }
    for (const topic of [this.topics.cameraStatus(cameraId), this.topics.cameraScene(cameraId)]) {
      this.#outbox.forget(topic);
      // An empty retained payload deletes the retained message [MQTT-3.3.1-10].
      await link.publish(topic, '', { retain: true });
    }
  }

  onAsk(handler: AskHandler): () => void {
    this.#ask.handler = handler;
    return () => {
      if (this.#ask.handler === handler) this.#ask.handler = undefined;
    };
  }

  onStateChange(listener: (state: BusState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  onPublished(listener: (message: PublishedMessage) => void): () => void {
    this.#publishedListeners.add(listener);
    return () => this.#publishedListeners.delete(listener);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#ask.handler = undefined;
    this.#requests.stop(new SdkError('ERR_DISPOSED', 'The device is shutting down.'));
    await this.#connection.close(async (link) => {
      await Promise.race([this.#outbox.idle(), sleep(LAST_MESSAGES_TIMEOUT_MS, undefined, { ref: false })]);
      await this.#publishAvailability(link, 'stopped');
    });
  }

  /** On connect: requests first, so that whoever sees `online` can ask; then birth, info, states, waiting answers. */
  async #onUp(link: Link): Promise<void> {
    await link.subscribe(this.topics.requests, true);
    await link.subscribe(this.topics.availability);
    await this.#publishAvailability(link, 'online');
    this.#outbox.attach((message) => this.#send(link, message), Math.min(SEND_WINDOW, link.receiveMaximum));
  }

  /**
   * Two devices with one name overwrite each other, and with one client id throw each other out. Not every broker says
   * so, but the other one's birth does. A birth that was retained before our first connect may be our own last run.
   */
  #checkNamesake(message: IncomingMessage): void {
    if (message.retain && this.#connection.connects === 0) return;
    const decoded = decodeRequest(message.payload);
    const birth = availabilitySchema.safeParse(decoded.ok ? decoded.value : undefined);
    if (!birth.success || birth.data.state !== 'online' || birth.data.run === this.#stamper.run) return;
    this.#nameConflicts += 1;
    this.#logger.log('error', `Another device has the same name ${this.topics.device}; give one of them another name`, {
      run: this.#stamper.run,
      otherRun: birth.data.run,
      topic: message.topic,
    });
  }

  async #publishAvailability(link: Link, state: 'online' | 'stopped'): Promise<void> {
    const topic = this.topics.availability;
    const payload = this.#stamper.make('availability', topic, { state });
    await link.publish(topic, JSON.stringify(payload), {
      retain: true,
      properties: properties(SCHEMA_IDS.availability),
    });
    this.#announce(topic, payload, true);
  }

  #send(link: Link, message: OutboxMessage): Promise<unknown> {
    const { schema } = message.value as { readonly schema: string };
    return link.publish(message.topic, message.payload, {
      retain: message.kind === 'state',
      properties: {
        ...properties(schema),
        ...(message.correlationData === undefined ? {} : { correlationData: message.correlationData }),
        ...(message.expiresAtMs === undefined
          ? {}
          : {
              messageExpiryInterval: Math.max(1, Math.ceil((message.expiresAtMs - this.#clock.monotonicMs()) / 1000)),
            }),
      },
    });
  }

  async #publishState(
    name: 'info' | 'health' | 'cameraStatus' | 'scene',
    topic: string,
    fields: object,
    expiresAtMs?: number,
  ): Promise<PublishResult> {
    if (this.state === 'closed')
      throw new SdkError('ERR_DISPOSED', `The bus is closed; nothing was published on ${topic}.`);
    const value = this.#stamper.make(name, topic, fields);
    return this.#outbox.push({
      topic,
      kind: 'state',
      rank: RANK[name],
      payload: JSON.stringify(value),
      value,
      expiresAtMs,
      correlationData: undefined,
    });
  }

  #reply(reply: Reply): void {
    const message = responseMessage(this.#stamper, reply, this.#logger, this.#clock);
    this.#outbox.push(message).catch((error: unknown) => {
      this.#logger.log('error', 'An answer could not be published', {
        topic: message.topic,
        error: error instanceof Error ? error.message : String(error),
      });
    });
  }

  get #sceneExpirySeconds(): number {
    return this.#options.sceneExpirySeconds ?? DEFAULTS.sceneExpirySeconds;
  }

  #announce(topic: string, payload: unknown, retain: boolean): void {
    this.#tell(this.#publishedListeners, { topic, payload, retain });
  }

  /** A listener that throws must not stop the connection. */
  #tell<T>(listeners: ReadonlySet<(value: T) => void>, value: T): void {
    for (const listener of [...listeners]) {
      try {
        listener(value);
      } catch (error) {
        this.#logger.log('error', 'A listener of the bus failed', { error: String(error) });
      }
    }
  }

  #logLoss(message: OutboxMessage, why: 'queue-full' | 'expired' | 'refused', error: unknown): void {
    const now = this.#clock.monotonicMs();
    // Counters have every loss; the log has the first of a burst.
    if (why !== 'refused' && now - this.#lastLossLogMs < LOSS_LOG_EVERY_MS) return;
    this.#lastLossLogMs = now;
    this.#logger.log('warn', 'A message was lost', {
      topic: message.topic,
      why,
      droppedQueueFull: this.#outbox.counters.droppedQueueFull,
      droppedExpired: this.#outbox.counters.droppedExpired,
      ...(error === undefined ? {} : { error: error instanceof Error ? error.message : String(error) }),
    });
  }
}

function properties(schema: string): PublishProperties {
  return { payloadFormatIndicator: true, contentType: 'application/json', userProperties: { schema } };
}
