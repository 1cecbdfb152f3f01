/** The caller's side of the bus: ask devices, follow what they publish. No native code, nothing of Node alone. */
import type { z } from 'zod';
import { SdkError } from '../../core/errors.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import type { CallOptions } from '../../core/types.js';
import { decodeRequest } from '../contract/decoding.js';
import { groupTopics, parseGroupTopic } from '../contract/group-topics.js';
import {
  type Availability,
  busSchemas,
  type CameraSettingState,
  type CameraStatusPayload,
  type Health,
  type Info,
  type Scene,
  type WatchChanges,
  type WatchDefinition,
  type WatchEvent,
  type WatchReport,
  type WatchState,
} from '../contract/schemas/index.js';
import type { CameraSetting } from '../contract/settings.js';
import { busTopics, checkRoot, DEFAULT_ROOT, parseTopic } from '../contract/topics.js';
import type { ResponseOf, VerbName } from '../contract/verbs.js';
import { BusConnection } from '../transport/connection.js';
import type { IncomingMessage, Link } from '../transport/link.js';
import { randomId } from '../transport/random-id.js';
import type { BusState, ProtocolVersion } from '../transport/types.js';
import type {
  AskOptions,
  AskReply,
  BusClient,
  BusGroup,
  ClientOptions,
  DescribeReply,
  EventOptions,
  FindReply,
  ListenOptions,
  LocateReply,
  Query,
  Question,
  RequestOptions,
  SnapshotReply,
  WatchOptions,
} from './client-types.js';
import { type FleetDevice, type FleetOptions, listFleet } from './fleet.js';
import { GroupRequests } from './group-requests.js';
import { NewestValues } from './newest-values.js';
import { PendingRequests } from './pending-requests.js';
import { Presence } from './presence.js';
import { RequestSender } from './request-sender.js';
import { Streams } from './streams.js';
import { Subscriptions } from './subscriptions.js';
import type { Stamped } from './unread-values.js';
import { ValuesInOrder } from './values-in-order.js';

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

class MqttBusClient implements BusClient {
  readonly #root: string;
  readonly #logger: Logger;
  readonly #connection: BusConnection;
  readonly #answerTopic: string;
  readonly #subscriptions: Subscriptions;
  readonly #requests: RequestSender;
  readonly #groupRequests: GroupRequests;
  readonly #streams: Streams;
  readonly #stateListeners = new Set<(state: BusState) => void>();
  #closing: Promise<void> | undefined;

  constructor(options: ClientOptions) {
    this.#root = checkRoot(options.root ?? DEFAULT_ROOT);
    this.#logger = options.logger ?? silentLogger;
    const id = randomId(16);
    this.#answerTopic = `${this.#root}/client/${id}/response`;
    this.#subscriptions = new Subscriptions(this.#logger);
    this.#connection = new BusConnection(
      options,
      {
        clientId: options.clientId ?? `scenebus-client-${id}`,
        sessionExpirySeconds: SESSION_EXPIRY_SECONDS,
        will: undefined,
      },
      {
        onUp: async (link) => {
          await link.subscribe(this.#answerTopic);
          await this.#subscriptions.renew(link);
        },
        onDown: () => {},
        onMessage: (_link, message) => this.#receive(message),
        onState: (state) => this.#tellState(state),
      },
    );
    this.#streams = new Streams({
      subscriptions: this.#subscriptions,
      link: () => this.#connection.link,
      checkOpen: () => this.#checkOpen(),
      logger: this.#logger,
    });
    const sending = {
      root: this.#root,
      answerTopic: this.#answerTopic,
      broker: this.broker,
      pending: new PendingRequests(),
      presence: new Presence(this.#root, this.#subscriptions, this.#logger),
      isOnline: () => this.state === 'online',
      online: (signal: AbortSignal) => this.#online(signal),
      logger: this.#logger,
    };
    this.#requests = new RequestSender(sending);
    this.#groupRequests = new GroupRequests({
      ...sending,
      onOnline: (listener) => this.onStateChange((state) => state === 'online' && listener()),
    });
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

  async request<Verb extends VerbName>(
    device: string,
    verb: Verb,
    query: Query<Verb>,
    options: AskOptions = {},
  ): Promise<ResponseOf<Verb>> {
    this.#checkOpen();
    return this.#requests.send(device, verb, query, options);
  }

  async ask(device: string, question: string | Question, options: AskOptions = {}): Promise<AskReply> {
    const query = typeof question === 'string' ? { question } : question;
    const response = await this.request(device, 'ask', query, options);
    return flat(response);
  }

  async describe(device: string, query: Query<'describe'> = {}, options: AskOptions = {}): Promise<DescribeReply> {
    const response = await this.request(device, 'describe', query, options);
    return flat(response);
  }

  async locate(
    device: string,
    objects: string | readonly string[] | Query<'locate'>,
    options: RequestOptions = {},
  ): Promise<LocateReply> {
    const response = await this.request(device, 'locate', locateQuery(objects), options);
    return flat(response);
  }

  group(name: string): BusGroup {
    groupTopics(this.#root, name);
    const requests = this.#groupRequests;
    const check = () => this.#checkOpen();
    return {
      name,
      async ask(question, options = {}) {
        check();
        return flat(await requests.send(name, 'ask', typeof question === 'string' ? { question } : question, options));
      },
      async describe(query = {}, options = {}) {
        check();
        return flat(await requests.send(name, 'describe', query, options));
      },
      async locate(objects, options = {}) {
        check();
        return flat(await requests.send(name, 'locate', locateQuery(objects), options));
      },
    };
  }

  async fleet(options: FleetOptions = {}): Promise<readonly FleetDevice[]> {
    const link = await this.#online(options.signal ?? new AbortController().signal);
    return listFleet({ root: this.#root, subscriptions: this.#subscriptions, link }, options);
  }

  async snapshot(device: string, query: Query<'snapshot'> = {}, options: RequestOptions = {}): Promise<SnapshotReply> {
    const { data, camera, frameId, frameTs, ...response } = await this.request(device, 'snapshot', query, options);
    const jpeg = Uint8Array.from(atob(data.jpeg), (character) => character.charCodeAt(0));
    return { device: response.device, camera, frameId, frameTs, jpeg, ...data.image };
  }

  async find(device: string, text: string | Query<'find'>, options: RequestOptions = {}): Promise<FindReply> {
    const query = typeof text === 'string' ? { text } : text;
    const response = await this.request(device, 'find', query, options);
    return { ...response.data, device: response.device };
  }

  async watch(device: string, watch: WatchDefinition, options: RequestOptions = {}): Promise<WatchReport> {
    return (await this.request(device, 'watch/add', { watch }, options)).data.watch;
  }
  async changeWatch(
    device: string,
    id: string,
    changes: WatchChanges,
    options: RequestOptions = {},
  ): Promise<WatchReport> {
    return (await this.request(device, 'watch/change', { id, changes }, options)).data.watch;
  }
  async removeWatch(device: string, id: string, options: RequestOptions = {}): Promise<void> {
    await this.request(device, 'watch/remove', { id }, options);
  }
  async listWatches(device: string, options: RequestOptions = {}): Promise<readonly WatchReport[]> {
    return (await this.request(device, 'watch/list', {}, options)).data.watches;
  }

  async setCamera(
    device: string,
    camera: string,
    setting: CameraSetting,
    value: boolean,
    { signal = new AbortController().signal }: CallOptions = {},
  ): Promise<void> {
    const topic = busTopics(this.#root, device).settingCommand(camera, setting);
    const link = await this.#online(signal);
    await link.publish(topic, JSON.stringify({ value }), { retain: false });
  }

  scenes(device: string, options: WatchOptions = {}): AsyncIterableIterator<Scene> {
    const filter = this.#filter(device, `camera/${level('camera', options.camera)}/scene`);
    return this.#streams.follow(filter, busSchemas.scene, options, new NewestValues<Scene>(), isFresh);
  }
  events(device: string, options: EventOptions = {}): AsyncIterableIterator<WatchEvent> {
    const filter = this.#filter(device, `camera/${level('camera', options.camera)}/event`);
    const stream = new ValuesInOrder<WatchEvent>((dropped) => {
      if (dropped % 1000 === 1)
        this.#logger.log('warn', 'Events were dropped because they were not read in time', { filter, dropped });
    });
    const { watch } = options;
    return this.#streams.follow(
      filter,
      busSchemas.event,
      options,
      stream,
      (event) => watch === undefined || event.watch === watch,
    );
  }
  watchStates(device: string, options: EventOptions = {}): AsyncIterableIterator<WatchState> {
    const levels = `camera/${level('camera', options.camera)}/watch/${level('watch', options.watch)}/state`;
    return this.#newest(device, levels, busSchemas.watchState, options);
  }
  cameraStatuses(device: string, options: WatchOptions = {}): AsyncIterableIterator<CameraStatusPayload> {
    return this.#newest(device, `camera/${level('camera', options.camera)}/status`, busSchemas.cameraStatus, options);
  }
  cameraSettings(device: string, options: WatchOptions = {}): AsyncIterableIterator<CameraSettingState> {
    return this.#newest(device, `camera/${level('camera', options.camera)}/+/state`, busSchemas.cameraSetting, options);
  }
  availability(device: string, options: CallOptions = {}): AsyncIterableIterator<Availability> {
    return this.#newest(device, 'availability', busSchemas.availability, options);
  }
  info(device: string, options: CallOptions = {}): AsyncIterableIterator<Info> {
    return this.#newest(device, 'info', busSchemas.info, options);
  }
  health(device: string, options: CallOptions = {}): AsyncIterableIterator<Health> {
    return this.#newest(device, 'health', busSchemas.health, options);
  }

  onScene(device: string, listener: (scene: Scene) => void, options: WatchOptions & ListenOptions = {}): () => void {
    return this.#streams.listen((signal) => this.scenes(device, { ...options, signal }), listener, options);
  }
  onEvent(
    device: string,
    listener: (event: WatchEvent) => void,
    options: EventOptions & ListenOptions = {},
  ): () => void {
    return this.#streams.listen((signal) => this.events(device, { ...options, signal }), listener, options);
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
    this.#requests.failAll(new SdkError('ERR_DISPOSED', 'The bus client is closed.'));
    this.#streams.endAll();
    await this.#connection.close(async () => {});
  }

  #newest<T extends Stamped>(
    device: string,
    levels: string,
    schema: z.ZodType<T>,
    options: CallOptions,
  ): AsyncIterableIterator<T> {
    return this.#streams.follow(this.#filter(device, levels), schema, options, new NewestValues<T>());
  }

  #receive(message: IncomingMessage): void {
    if (message.payload.length === 0) return;
    const decoded = decodeRequest(message.payload);
    if (!decoded.ok) {
      this.#logger.log('debug', 'Skipped a message that is not JSON', { topic: message.topic });
      return;
    }
    if (message.topic === this.#answerTopic) this.#requests.receive(message, decoded.value);
    else if (isOurs(this.#root, message.topic)) {
      this.#subscriptions.deliver(message.topic, decoded.value, message.retain);
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

  #tellState(state: BusState): void {
    for (const listener of [...this.#stateListeners]) {
      try {
        listener(state);
      } catch (error) {
        this.#logger.log('error', 'A listener of the bus client failed', { error: String(error) });
      }
    }
  }

  #filter(device: string, rest: string): string {
    if (device === '*') return `${this.#root}/+/${rest}`;
    return `${this.#root}/${busTopics(this.#root, device).device}/${rest}`;
  }

  #checkOpen(): void {
    if (this.state === 'closed') throw new SdkError('ERR_DISPOSED', 'The bus client is closed.');
  }
}

function locateQuery(objects: string | readonly string[] | Query<'locate'>): Query<'locate'> {
  const isList = typeof objects === 'string' || Array.isArray(objects);
  return isList ? { objects: [objects].flat() as string[] } : (objects as Query<'locate'>);
}

function isOurs(root: string, topic: string): boolean {
  return parseTopic(root, topic) !== undefined || parseGroupTopic(root, topic) !== undefined;
}

/** One level of a filter; checked, because an id with a wildcard would follow others as well. */
function level(what: 'camera' | 'watch', id: string | undefined): string {
  if (id === undefined) return '+';
  const topics = busTopics(DEFAULT_ROOT, 'any');
  if (what === 'camera') topics.cameraScene(id);
  else topics.watchState('any', id);
  return id;
}

/** MQTT 3.1.1 brokers keep stale scenes forever. */
function isFresh(scene: Scene, isRetained: boolean): boolean {
  return !isRetained || Date.parse(scene.expiresTs) > Date.now();
}

/** `data` with where it comes from. */
function flat<Data extends object>({
  data,
  device,
  camera,
  frameId,
  frameTs,
  model,
  generatedByModel,
  group,
}: ModelResponse<Data>) {
  return {
    ...data,
    device,
    ...(camera === undefined ? {} : { camera }),
    ...(group === undefined ? {} : { group }),
    frameId,
    frameTs,
    model,
    generatedByModel,
  };
}

interface ModelResponse<Data extends object> {
  readonly data: Data;
  readonly device: string;
  readonly camera?: string | undefined;
  readonly frameId: string;
  readonly frameTs: string;
  readonly model: { id: string; hash?: string | undefined };
  readonly generatedByModel: true;
  readonly group?: { name: string; attempt: number } | undefined;
}
