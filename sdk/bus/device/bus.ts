/** The device's side: presence, states, scenes, and questions answered. */
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import { SCHEMA_IDS } from '../contract/schemas/index.js';
import type { CameraSetting } from '../contract/settings.js';
import {
  type BusTopics,
  busTopics,
  checkRoot,
  DEFAULT_ROOT,
  isPortableSegment,
  rollCallTopic,
  topicMatches,
} from '../contract/topics.js';
import type { VerbName } from '../contract/verbs.js';
import { BusConnection } from '../transport/connection.js';
import { type Link, LinkClosedError } from '../transport/link.js';
import { Outbox, type OutboxMessage } from '../transport/outbox.js';
import { sleep } from '../transport/sleep.js';
import type { BusState, ProtocolVersion, PublishResult } from '../transport/types.js';
import { type GroupStanding, Groups } from './group/groups.js';
import type { EventInput, SceneInput, WatchStateInput } from './inputs.js';
import { type KeptAnswer, keptAnswerOf, messageOf } from './kept-answer.js';
import { NamesakeWatch } from './namesake.js';
import { OptionalSubscriptions } from './optional-subscriptions.js';
import { clientIdOf, jsonProperties, sendMessage } from './outgoing.js';
import { Outward } from './outward.js';
import { PayloadStamper } from './payloads.js';
import { Publisher } from './publisher.js';
import { type Reply, RequestServer } from './request-server.js';
import { responseMessage } from './responses.js';
import { RollCall } from './roll-call.js';
import { SettingCommands } from './setting-commands.js';
import type {
  AskHandler,
  Bus,
  BusLimits,
  BusOptions,
  BusStats,
  CameraStatusInput,
  HealthInput,
  InfoInput,
  OutwardMessage,
  OutwardTopic,
  PublishEventOptions,
  PublishedMessage,
  ReceivedMessage,
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
/** To say that this device leaves its groups. */
const GROUPS_TIMEOUT_MS = 500;
const LOSS_LOG_EVERY_MS = 10_000;

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
  #limits: ReturnType<typeof limitsOf>;
  readonly #logger: Logger;
  readonly #stamper: PayloadStamper;
  readonly #outbox: Outbox;
  readonly #requests: RequestServer;
  readonly #connection: BusConnection;
  readonly #commands: SettingCommands;
  readonly #optional: OptionalSubscriptions;
  readonly #namesakes: NamesakeWatch;
  readonly #publisher: Publisher;
  readonly #outward: Outward;
  readonly #groups: Groups | undefined;
  readonly #rollCall: RollCall;
  readonly #stateListeners = new Set<(state: BusState) => void>();
  readonly #publishedListeners = new Set<(message: PublishedMessage) => void>();
  readonly #receivedListeners = new Set<(message: ReceivedMessage) => void>();
  #lastLossLogMs = Number.NEGATIVE_INFINITY;
  #closing: Promise<void> | undefined;

  constructor(options: BusOptions) {
    this.#options = options;
    this.#limits = limitsOf(options);
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
      defaultTimeoutMs: this.#limits.requestTimeoutMs,
      clientLimits: this.#limits.clientLimits,
      maxUnanswered: options.maxUnanswered ?? LIMITS.busUnansweredRequests,
      reply: (reply) => this.#reply(reply),
      onLoad: () => this.#groups?.look(),
      logger: this.#logger,
      now: Date.now,
      monotonicNow: () => performance.now(),
    });
    this.#requests.handle('health', async () => this.#publisher.healthNow());
    this.#commands = new SettingCommands({
      root: this.topics.root,
      restate: (camera, setting) => this.#publisher.restate(camera, setting),
      logger: this.#logger,
      monotonicNow: () => performance.now(),
    });
    this.#rollCall = new RollCall(() => this.#sayAgain(), this.#logger);
    this.#optional = new OptionalSubscriptions(this.#logger);
    this.#namesakes = new NamesakeWatch(options.device, this.#stamper.run, this.#logger);
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
          const { topic, payload, retain } = message;
          this.#tell(this.#receivedListeners, { topic, payload, retain });
          try {
            if (message.topic === this.topics.availability) {
              this.#namesakes.receive(message, this.#connection.connects === 0);
            } else if (message.topic === rollCallTopic(this.topics.root)) this.#rollCall.receive(message);
            else if (topicMatches(this.topics.settingCommands, message.topic)) this.#commands.receive(message);
            else if (!this.#outward.receive(message)) this.#requests.receive(message);
          } catch (error) {
            // Nothing that a stranger sends may take the service down.
            this.#logger.log('error', 'A request could not be handled', { topic: message.topic, error: String(error) });
          }
        },
        onState: (state) => this.#tell(this.#stateListeners, state),
      },
    );
    this.#publisher = new Publisher({
      topics: this.topics,
      stamper: this.#stamper,
      outbox: this.#outbox,
      sceneExpirySeconds: () => this.#limits.sceneExpirySeconds,
      eventExpirySeconds: options.eventExpirySeconds ?? DEFAULTS.eventExpirySeconds,
      requestTimeoutMs: () => this.#limits.requestTimeoutMs,
      requestsPerSecond: () => this.#requests.requestsPerSecond,
      verbs: () => this.#requests.verbs,
      broker: this.broker,
      link: () => this.#connection.link,
      isClosed: () => this.state === 'closed',
      logger: this.#logger,
    });
    this.#outward = new Outward(options.outward ?? {}, {
      root: this.topics.root,
      outbox: this.#outbox,
      clear: (topics, what) => this.#publisher.clear(topics, what),
      requireOpen: (topic) => this.#publisher.requireOpen(topic),
      logger: this.#logger,
    });
    this.#groups =
      options.groups === undefined || options.groups.length === 0
        ? undefined
        : new Groups({
            connection: options,
            clientId: options.clientId ?? clientIdOf(this.topics),
            root: this.topics.root,
            device: options.device,
            groups: options.groups,
            stamper: this.#stamper,
            take: (message, verb, group) => {
              this.#tell(this.#receivedListeners, message);
              return this.#requests.take(message, verb, group);
            },
            active: () => this.#requests.active,
            isReady: () => this.#requests.isReady,
            logger: this.#logger,
          });
    if (!isPortableSegment(options.device)) {
      this.#logger.log('warn', 'Not every broker carries this device name: RabbitMQ and NATS change or refuse it', {
        device: options.device,
        advice: 'use letters, digits, _ and -',
      });
    }
  }

  get #willDelaySeconds(): number {
    return this.#options.willDelaySeconds ?? DEFAULTS.willDelaySeconds;
  }

  async start(): Promise<void> {
    await this.#connection.start();
    await this.#groups?.start();
  }

  get failure(): SdkError | undefined {
    return this.#connection.failure;
  }
  get state(): BusState {
    return this.#connection.state;
  }
  get protocolVersion(): ProtocolVersion | undefined {
    return this.#connection.link?.version;
  }
  get groups(): readonly GroupStanding[] {
    return this.#groups?.standings ?? [];
  }
  standInGroups(reason: string | undefined): void {
    this.#groups?.stand(reason);
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
      nameConflicts: this.#namesakes.conflicts,
    };
  }

  setLimits(limits: BusLimits): void {
    this.#limits = limitsOf(limits);
    const { requestTimeoutMs: defaultTimeoutMs, clientLimits } = this.#limits;
    this.#requests.setLimits({ defaultTimeoutMs, clientLimits });
    this.#publisher.renewInfo();
  }

  publishInfo(info: InfoInput): Promise<PublishResult> {
    return this.#publisher.publishInfo(info);
  }
  publishHealth(health: HealthInput): Promise<PublishResult> {
    return this.#publisher.publishHealth(health);
  }
  publishCameraStatus(cameraId: string, status: CameraStatusInput): Promise<PublishResult> {
    return this.#publisher.publishCameraStatus(cameraId, status);
  }
  publishScene(cameraId: string, scene: SceneInput): Promise<PublishResult> {
    return this.#publisher.publishScene(cameraId, scene);
  }
  publishEvent(cameraId: string, event: EventInput, options?: PublishEventOptions): Promise<PublishResult> {
    return this.#publisher.publishEvent(cameraId, event, options);
  }
  async sendAnswer(
    answer: KeptAnswer,
    { isRepeated = false }: { readonly isRepeated?: boolean | undefined } = {},
  ): Promise<PublishResult> {
    if (this.state === 'closed')
      throw new SdkError('ERR_DISPOSED', `The bus is closed; ${answer.topic} got no answer.`);
    return this.#outbox.push(messageOf(answer, isRepeated, this.run));
  }
  publishWatchState(cameraId: string, watchId: string, state: WatchStateInput): Promise<PublishResult> {
    return this.#publisher.publishWatchState(cameraId, watchId, state);
  }
  publishCameraSetting(cameraId: string, setting: CameraSetting, value: boolean): Promise<PublishResult> {
    return this.#publisher.publishCameraSetting(cameraId, setting, value);
  }
  removeCamera(cameraId: string): Promise<void> {
    return this.#publisher.removeCamera(cameraId);
  }
  removeWatch(watchId: string): Promise<void> {
    return this.#publisher.removeWatch(watchId);
  }

  publishOutward(topic: OutwardTopic, payload: object, message?: OutwardMessage): Promise<PublishResult> {
    return this.#outward.publish(topic, payload, message);
  }
  removeOutward(topic: OutwardTopic): Promise<void> {
    return this.#outward.remove(topic);
  }
  onOutward(listener: (topic: string, text: string) => void): () => void {
    return this.#outward.listen(listener);
  }

  handle<Verb extends VerbName>(verb: Verb, handler: VerbHandler<Verb>): () => void {
    const before = this.#requests.verbs.length;
    const remove = this.#requests.handle(verb, handler);
    if (this.#requests.verbs.length > before) this.#publisher.renewInfo();
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

  onReceived(listener: (message: ReceivedMessage) => void): () => void {
    this.#receivedListeners.add(listener);
    return () => this.#receivedListeners.delete(listener);
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
    // First: whoever is asked now would be told that this device shuts down.
    this.#rollCall.stop();
    const groups = this.#groups?.close();
    await Promise.race([groups, sleep(GROUPS_TIMEOUT_MS, { isBackground: true })]);
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
      { filter: rollCallTopic(this.topics.root), purpose: 'the roll call of all devices', retainAsPublished: true },
      { filter: this.topics.settingCommands, purpose: 'camera settings over the bus', retainAsPublished: true },
      ...this.#outward.subscriptions,
    ]);
    // The connection ended; the next one asks for less.
    if (!isUp) return;
    await this.#publishAvailability(link, 'online');
    this.#outbox.attach((message) => sendMessage(link, message), Math.min(SEND_WINDOW, link.receiveMaximum));
  }

  /** What this device is, for whoever the broker does not give retained messages to. */
  #sayAgain(): void {
    const { link } = this.#connection;
    if (link === undefined || this.state === 'closed') return;
    this.#publishAvailability(link, 'online').catch(() => {});
    this.#publisher.renew();
  }

  async #publishAvailability(link: Link, state: 'online' | 'stopped'): Promise<void> {
    const topic = this.topics.availability;
    const payload = this.#stamper.make('availability', topic, { state });
    await link.publish(topic, JSON.stringify(payload), {
      retain: true,
      properties: jsonProperties(SCHEMA_IDS.availability),
    });
    this.#announce(topic, payload, true);
  }

  /** @throws SdkError at once when the answer breaks the contract. */
  #reply(reply: Reply): Promise<unknown> {
    const message = responseMessage(this.#stamper, reply, this.#logger);
    const isKept = reply.request !== undefined && this.#options.keepAnswer?.(keptAnswerOf(message), reply.request);
    return isKept ? Promise.resolve('queued') : this.#outbox.push(message);
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
    const nowMs = performance.now();
    // Counters have every loss; the log has the first of a burst.
    if (why !== 'refused' && nowMs - this.#lastLossLogMs < LOSS_LOG_EVERY_MS) return;
    this.#lastLossLogMs = nowMs;
    this.#logger.log('warn', 'A message was lost', {
      topic: message.topic,
      why,
      droppedQueueFull: this.#outbox.counters.droppedQueueFull,
      droppedExpired: this.#outbox.counters.droppedExpired,
      ...(error === undefined ? {} : { error: error instanceof Error ? error.message : String(error) }),
    });
  }
}

function limitsOf({ sceneExpirySeconds, requestTimeoutMs, clientLimits }: BusLimits) {
  return {
    sceneExpirySeconds: sceneExpirySeconds ?? DEFAULTS.sceneExpirySeconds,
    requestTimeoutMs: requestTimeoutMs ?? DEFAULTS.requestTimeoutMs,
    clientLimits: clientLimits ?? {},
  };
}
