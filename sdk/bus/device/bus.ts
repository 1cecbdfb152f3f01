/** The device's side: presence, states, scenes, and questions answered. */
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import { decodeRequest } from '../contract/decoding.js';
import { toInstant } from '../contract/schemas/common.js';
import { availabilitySchema, SCHEMA_IDS } from '../contract/schemas/index.js';
import type { CameraSetting } from '../contract/settings.js';
import { type BusTopics, busTopics, checkRoot, DEFAULT_ROOT, parseTopic, topicMatches } from '../contract/topics.js';
import type { VerbName } from '../contract/verbs.js';
import { BusConnection } from '../transport/connection.js';
import { type IncomingMessage, type Link, LinkClosedError } from '../transport/link.js';
import { Outbox, type OutboxMessage } from '../transport/outbox.js';
import { sleep } from '../transport/sleep.js';
import type { BusState, ProtocolVersion, PublishProperties, PublishResult } from '../transport/types.js';
import type { EventInput, SceneInput, WatchStateInput } from './inputs.js';
import { type KeptAnswer, keptAnswerOf, messageOf } from './kept-answer.js';
import { OptionalSubscriptions } from './optional-subscriptions.js';
import { answerOf, eventFields, PayloadStamper, provenanceOf, watchStateFields } from './payloads.js';
import { type Reply, RequestServer } from './request-server.js';
import { responseMessage } from './responses.js';
import { SettingCommands } from './setting-commands.js';
import type {
  AskHandler,
  Bus,
  BusOptions,
  BusStats,
  CameraStatusInput,
  HealthInput,
  InfoInput,
  PublishEventOptions,
  PublishedMessage,
} from './types.js';
import type { SettingHandler, VerbHandler } from './verb-results.js';

const DEFAULTS = {
  sceneExpirySeconds: 300,
  eventExpirySeconds: 300,
  willDelaySeconds: 5,
  requestTimeoutMs: 120_000,
} as const;
/** The broker keeps our session over short breaks, so that a question asked meanwhile still arrives. */
const SESSION_EXPIRY_SECONDS = 60;
/** Unacknowledged messages: enough to fill a slow link, too few to flood a broker that has just come back. */
const SEND_WINDOW = 16;
const MAX_STATE_TOPICS = 1024;
/** For answers on their way when the bus closes; `stopped` goes out afterwards in any case. */
const LAST_MESSAGES_TIMEOUT_MS = 1_500;
const LOSS_LOG_EVERY_MS = 10_000;

const RANK = { info: 0, health: 1, cameraStatus: 2, cameraSetting: 3, watchState: 4, scene: 5 } as const;
const EVENT_RANK = 9;
type StateName = keyof typeof RANK;

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
  readonly #stamper: PayloadStamper;
  readonly #outbox: Outbox;
  readonly #requests: RequestServer;
  readonly #connection: BusConnection;
  readonly #commands: SettingCommands;
  readonly #optional: OptionalSubscriptions;
  readonly #settings = new Map<string, boolean>();
  readonly #stateListeners = new Set<(state: BusState) => void>();
  readonly #publishedListeners = new Set<(message: PublishedMessage) => void>();
  #nameConflicts = 0;
  #lastInfo: InfoInput | undefined;
  #lastHealth: HealthInput | undefined;
  #lastLossLogMs = Number.NEGATIVE_INFINITY;
  #closing: Promise<void> | undefined;

  constructor(options: BusOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    this.topics = busTopics(checkRoot(options.root ?? DEFAULT_ROOT), options.device);
    this.#stamper = new PayloadStamper(options.device, Date.now);
    this.#outbox = new Outbox({
      queueLength: options.offlineQueueLength ?? LIMITS.busOfflineQueueLength,
      maxStates: MAX_STATE_TOPICS,
      isLost: (error) => error instanceof LinkClosedError,
      onDelivered: (message) => this.#announce(message.topic, message.value, message.kind === 'state'),
      onLoss: (message, why, error) => this.#logLoss(message, why, error),
      now: () => performance.now(),
    });
    this.#requests = new RequestServer({
      topics: this.topics,
      responseTopics: options.responseTopics ?? [`${this.topics.root}/#`],
      defaultTimeoutMs: options.requestTimeoutMs ?? DEFAULTS.requestTimeoutMs,
      clientLimits: options.clientLimits ?? {},
      maxUnanswered: options.maxUnanswered ?? LIMITS.busUnansweredRequests,
      reply: (reply) => this.#reply(reply),
      logger: this.#logger,
      now: Date.now,
      monotonicNow: () => performance.now(),
    });
    this.#requests.handle('health', async () => this.#healthNow());
    this.#commands = new SettingCommands({
      root: this.topics.root,
      restate: (camera, setting) => this.#restate(camera, setting),
      logger: this.#logger,
      monotonicNow: () => performance.now(),
    });
    this.#optional = new OptionalSubscriptions(this.#logger);
    this.#connection = new BusConnection(
      options,
      {
        // The same after a restart: the broker then ends a half-open old connection instead of keeping two.
        clientId: options.clientId ?? clientIdOf(this.topics),
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
            else if (topicMatches(this.topics.settingCommands, message.topic)) this.#commands.receive(message);
            else this.#requests.receive(message);
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
      commandsRefused: this.#commands.refused,
      nameConflicts: this.#nameConflicts,
    };
  }

  publishInfo(info: InfoInput): Promise<PublishResult> {
    this.#lastInfo = info;
    return this.#publishState('info', this.topics.info, {
      ...info,
      schemas: Object.values(SCHEMA_IDS),
      verbs: [...this.#requests.verbs],
      limits: {
        requestBytes: LIMITS.busRequestBytes,
        questionCharacters: LIMITS.questionCharacters,
        requestTimeoutMs: this.#options.requestTimeoutMs ?? DEFAULTS.requestTimeoutMs,
        sceneExpirySeconds: this.#sceneExpirySeconds,
        ...info.limits,
      },
    });
  }

  publishHealth(health: HealthInput): Promise<PublishResult> {
    this.#lastHealth = health;
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
      expiresTs: toInstant(Date.now() + lifeMs),
    };
    return this.#publishState('scene', this.topics.cameraScene(cameraId), fields, performance.now() + lifeMs);
  }

  async publishEvent(
    cameraId: string,
    event: EventInput,
    { queue = true }: PublishEventOptions = {},
  ): Promise<PublishResult> {
    const topic = this.topics.cameraEvent(cameraId);
    this.#checkOpen(topic);
    const payload = this.#stamper.make('event', topic, eventFields(event, cameraId));
    return this.#outbox.push({
      topic,
      kind: 'event',
      rank: EVENT_RANK,
      payload: JSON.stringify(payload),
      value: payload,
      // An event is worth something to whoever was away; only the broker lets it go.
      expiresAtMs: undefined,
      brokerSeconds: this.#options.eventExpirySeconds ?? DEFAULTS.eventExpirySeconds,
      correlationData: undefined,
      isUnkept: !queue,
      isRepeated: event.repeated,
    });
  }

  async sendAnswer(
    answer: KeptAnswer,
    { isRepeated = false }: { readonly isRepeated?: boolean | undefined } = {},
  ): Promise<PublishResult> {
    this.#checkOpen(answer.topic);
    return this.#outbox.push(messageOf(answer, isRepeated, EVENT_RANK));
  }

  async publishWatchState(cameraId: string, watchId: string, state: WatchStateInput): Promise<PublishResult> {
    const topic = this.topics.watchState(cameraId, watchId);
    return this.#publishState('watchState', topic, watchStateFields(state, cameraId, watchId));
  }

  async publishCameraSetting(cameraId: string, setting: CameraSetting, value: boolean): Promise<PublishResult> {
    const topic = this.topics.cameraSetting(cameraId, setting);
    this.#settings.set(topic, value);
    return this.#publishState('cameraSetting', topic, { camera: cameraId, setting, value });
  }

  async removeCamera(cameraId: string): Promise<void> {
    const base = this.topics.cameraStatus(cameraId).replace(/status$/, '');
    const known = this.#outbox.stateTopics.filter((topic) => topic.startsWith(base));
    const always = [this.topics.cameraStatus(cameraId), this.topics.cameraScene(cameraId)];
    await this.#clear(new Set([...always, ...known]), cameraId);
  }

  async removeWatch(watchId: string): Promise<void> {
    const topics = this.#outbox.stateTopics.filter((topic) => {
      const parsed = parseTopic(this.topics.root, topic);
      return parsed?.kind === 'watch-state' && parsed.watch === watchId;
    });
    await this.#clear(topics, watchId);
  }

  async #clear(topics: Iterable<string>, what: string): Promise<void> {
    const { link } = this.#connection;
    if (link === undefined) {
      throw new SdkError(
        'ERR_BUS_UNREACHABLE',
        `The messages of ${what} stay on ${this.broker} while it cannot be reached; remove it again later.`,
      );
    }
    for (const topic of topics) {
      this.#outbox.forget(topic);
      this.#settings.delete(topic);
      // An empty retained payload deletes the retained message [MQTT-3.3.1-10].
      await link.publish(topic, '', { retain: true });
    }
  }

  handle<Verb extends VerbName>(verb: Verb, handler: VerbHandler<Verb>): () => void {
    const before = this.#requests.verbs.length;
    const remove = this.#requests.handle(verb, handler);
    const isNew = this.#requests.verbs.length > before;
    if (isNew && this.#lastInfo !== undefined && this.state !== 'closed') {
      this.publishInfo(this.#lastInfo).catch((error: unknown) => {
        this.#logger.log('warn', 'info was not published', { error: String(error) });
      });
    }
    return remove;
  }

  onAsk(handler: AskHandler): () => void {
    return this.handle('ask', handler);
  }

  onSetting(handler: SettingHandler): () => void {
    this.#commands.handler = handler;
    return () => {
      if (this.#commands.handler === handler) this.#commands.handler = undefined;
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
    this.#commands.handler = undefined;
    this.#requests.stop(new SdkError('ERR_DISPOSED', 'The device is shutting down.'));
    await this.#connection.close(async (link) => {
      await Promise.race([this.#outbox.idle(), sleep(LAST_MESSAGES_TIMEOUT_MS, { isBackground: true })]);
      await this.#publishAvailability(link, 'stopped');
    });
  }

  /** On connect: requests first, so that whoever sees `online` can ask; then birth, info, states, waiting answers. */
  async #onUp(link: Link): Promise<void> {
    await link.subscribe(this.topics.requests, true);
    const isUp = await this.#optional.subscribe(link, [
      // Before our birth, whose retained message would hide that of another device.
      { filter: this.topics.availability, purpose: 'noticing another device of its name', retainAsPublished: false },
      { filter: this.topics.watchRequests, purpose: 'requests about watches', retainAsPublished: true },
      { filter: this.topics.settingCommands, purpose: 'camera settings over the bus', retainAsPublished: true },
    ]);
    // The connection ended; the next one asks for less.
    if (!isUp) return;
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
        ...properties(schema, message.isRepeated),
        ...(message.correlationData === undefined ? {} : { correlationData: message.correlationData }),
        ...expiryOf(message),
      },
    });
  }

  async #publishState(name: StateName, topic: string, fields: object, expiresAtMs?: number): Promise<PublishResult> {
    this.#checkOpen(topic);
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

  #checkOpen(topic: string): void {
    if (this.state !== 'closed') return;
    throw new SdkError('ERR_DISPOSED', `The bus is closed; nothing was published on ${topic}.`);
  }

  /** @throws SdkError at once when the answer breaks the contract. */
  #reply(reply: Reply): Promise<unknown> {
    const message = responseMessage(this.#stamper, reply, this.#logger);
    const isKept = reply.request !== undefined && this.#options.keepAnswer?.(keptAnswerOf(message), reply.request);
    return isKept ? Promise.resolve('queued') : this.#outbox.push(message);
  }

  async #healthNow(): Promise<HealthInput> {
    if (this.#lastHealth !== undefined) return this.#lastHealth;
    throw new SdkError('ERR_BUSY', 'The device has not looked at its health yet; try again later.');
  }

  #restate(camera: string, setting: CameraSetting): void {
    const value = this.#settings.get(this.topics.cameraSetting(camera, setting));
    if (value === undefined || this.state === 'closed') return;
    this.publishCameraSetting(camera, setting, value).catch((error: unknown) => {
      this.#logger.log('warn', 'A camera setting was not published', { camera, setting, error: String(error) });
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
    const now = performance.now();
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

/** Different for different devices: of two roots `a` and `a/b` and devices `b-c` and `c` too. */
function clientIdOf({ root, device }: BusTopics): string {
  // `$` is in no name. The default root keeps the form that access rules of the field may name.
  return root === DEFAULT_ROOT ? `${root}-${device}` : `${root.replaceAll('/', '$')}$${device}`;
}

function expiryOf({ expiresAtMs, brokerSeconds }: OutboxMessage): PublishProperties {
  if (expiresAtMs !== undefined) {
    return { messageExpiryInterval: Math.max(1, Math.ceil((expiresAtMs - performance.now()) / 1000)) };
  }
  return brokerSeconds === undefined ? {} : { messageExpiryInterval: brokerSeconds };
}

function properties(schema: string, isRepeated = false): PublishProperties {
  // MQTT's own mark of a duplicate ends at the broker [MQTT-3.3.1-3].
  const userProperties = isRepeated ? { schema, repeated: 'true' } : { schema };
  return { payloadFormatIndicator: true, contentType: 'application/json', userProperties };
}
