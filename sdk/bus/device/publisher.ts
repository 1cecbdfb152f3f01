/** Everything that a device publishes of itself: states, scenes, events. */
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import type { Logger } from '../../core/logger.js';
import { toInstant } from '../contract/schemas/common.js';
import { SCHEMA_IDS } from '../contract/schemas/index.js';
import type { CameraSetting } from '../contract/settings.js';
import { type BusTopics, parseTopic } from '../contract/topics.js';
import type { Link } from '../transport/link.js';
import type { Outbox } from '../transport/outbox.js';
import type { PublishResult } from '../transport/types.js';
import type { EventInput, SceneInput, WatchStateInput } from './inputs.js';
import { answerOf, eventFields, type PayloadStamper, provenanceOf, watchStateFields } from './payloads.js';
import type { CameraStatusInput, HealthInput, InfoInput, PublishEventOptions } from './types.js';

export interface PublisherOptions {
  readonly topics: BusTopics;
  readonly stamper: PayloadStamper;
  readonly outbox: Outbox;
  readonly sceneExpirySeconds: () => number;
  readonly eventExpirySeconds: number;
  /** For `info`, as the next two. */
  readonly requestTimeoutMs: () => number;
  readonly requestsPerSecond: () => number;
  readonly verbs: () => readonly string[];
  /** Without credentials. */
  readonly broker: string;
  /** The connection, if there is one now. */
  readonly link: () => Link | undefined;
  readonly isClosed: () => boolean;
  readonly logger: Logger;
}

/** States go out in this order after a connect. */
const RANK = { info: 0, health: 2, cameraStatus: 3, cameraSetting: 4, watchState: 5, scene: 6 } as const;
const EVENT_RANK = 9;
type StateName = keyof typeof RANK;

/** The publishing half of `Bus`, where its methods are described. */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #topics: BusTopics;
  readonly #stamper: PayloadStamper;
  readonly #outbox: Outbox;
  readonly #logger: Logger;
  /** By topic. */
  readonly #settings = new Map<string, boolean>();
  #lastInfo: InfoInput | undefined;
  #lastHealth: HealthInput | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#topics = options.topics;
    this.#stamper = options.stamper;
    this.#outbox = options.outbox;
    this.#logger = options.logger;
  }

  publishInfo(info: InfoInput): Promise<PublishResult> {
    this.#lastInfo = info;
    return this.#publishState('info', this.#topics.info, {
      ...info,
      schemas: Object.values(SCHEMA_IDS),
      verbs: [...this.#options.verbs()],
      limits: {
        requestBytes: LIMITS.busRequestBytes,
        questionCharacters: LIMITS.questionCharacters,
        requestsPerSecond: this.#options.requestsPerSecond(),
        requestTimeoutMs: this.#options.requestTimeoutMs(),
        sceneExpirySeconds: this.#options.sceneExpirySeconds(),
        ...info.limits,
      },
    });
  }

  publishHealth(health: HealthInput): Promise<PublishResult> {
    this.#lastHealth = health;
    return this.#publishState('health', this.#topics.health, health);
  }

  async publishCameraStatus(cameraId: string, status: CameraStatusInput): Promise<PublishResult> {
    return this.#publishState('cameraStatus', this.#topics.cameraStatus(cameraId), { ...status, camera: cameraId });
  }

  async publishScene(cameraId: string, scene: SceneInput): Promise<PublishResult> {
    // A clock that was set back makes no scene live longer.
    const ageMs = Math.max(0, Date.now() - (scene.describedAtMs ?? Date.now()));
    const lifeMs = this.#options.sceneExpirySeconds() * 1000 - ageMs;
    const fields = {
      ...provenanceOf(scene, cameraId),
      ...answerOf(scene),
      ...(scene.trigger === undefined ? {} : { trigger: scene.trigger }),
      ...((scene.endedTracks?.length ?? 0) === 0 ? {} : { endedTracks: [...scene.endedTracks!] }),
      expiresTs: toInstant(Date.now() + lifeMs),
    };
    return this.#publishState('scene', this.#topics.cameraScene(cameraId), fields, performance.now() + lifeMs);
  }

  async publishEvent(
    cameraId: string,
    event: EventInput,
    { queue = true }: PublishEventOptions = {},
  ): Promise<PublishResult> {
    const topic = this.#topics.cameraEvent(cameraId);
    this.requireOpen(topic);
    const payload = this.#stamper.make('event', topic, eventFields(event, cameraId));
    return this.#outbox.push({
      topic,
      kind: 'event',
      rank: EVENT_RANK,
      payload: JSON.stringify(payload),
      value: payload,
      // An event is worth something to whoever was away; only the broker lets it go.
      expiresAtMs: undefined,
      brokerSeconds: this.#options.eventExpirySeconds,
      correlationData: undefined,
      isUnkept: !queue,
      isRepeated: event.repeated,
    });
  }

  async publishWatchState(cameraId: string, watchId: string, state: WatchStateInput): Promise<PublishResult> {
    const topic = this.#topics.watchState(cameraId, watchId);
    return this.#publishState('watchState', topic, watchStateFields(state, cameraId, watchId));
  }

  async publishCameraSetting(cameraId: string, setting: CameraSetting, value: boolean): Promise<PublishResult> {
    const topic = this.#topics.cameraSetting(cameraId, setting);
    this.#settings.set(topic, value);
    return this.#publishState('cameraSetting', topic, { camera: cameraId, setting, value });
  }

  async removeCamera(cameraId: string): Promise<void> {
    const base = this.#topics.cameraStatus(cameraId).replace(/status$/, '');
    const known = this.#outbox.stateTopics.filter((topic) => topic.startsWith(base));
    const always = [this.#topics.cameraStatus(cameraId), this.#topics.cameraScene(cameraId)];
    await this.clear(new Set([...always, ...known]), cameraId);
  }

  async removeWatch(watchId: string): Promise<void> {
    const topics = this.#outbox.stateTopics.filter((topic) => {
      const parsed = parseTopic(this.#topics.root, topic);
      return parsed?.kind === 'watch-state' && parsed.watch === watchId;
    });
    await this.clear(topics, watchId);
  }

  /** Deletes what is retained on these topics. @throws SdkError ERR_BUS_UNREACHABLE while offline. */
  async clear(topics: Iterable<string>, what: string): Promise<void> {
    const link = this.#options.link();
    if (link === undefined) {
      throw new SdkError(
        'ERR_BUS_UNREACHABLE',
        `The messages of ${what} stay on ${this.#options.broker} while it cannot be reached; remove it again later.`,
      );
    }
    for (const topic of topics) {
      this.#outbox.forget(topic);
      this.#settings.delete(topic);
      // An empty retained payload deletes the retained message [MQTT-3.3.1-10].
      await link.publish(topic, '', { retain: true });
    }
  }

  /** Publishes `info` again when it was published before: the verbs have changed. */
  renewInfo(): void {
    if (this.#lastInfo === undefined || this.#options.isClosed()) return;
    this.publishInfo(this.#lastInfo).catch((error: unknown) => {
      this.#logger.log('warn', 'info was not published', { error: String(error) });
    });
  }

  /** Publishes `info` and `health` again, as far as they were published before. */
  renew(): void {
    this.renewInfo();
    if (this.#lastHealth === undefined || this.#options.isClosed()) return;
    this.publishHealth(this.#lastHealth).catch((error: unknown) => {
      this.#logger.log('warn', 'health was not published', { error: String(error) });
    });
  }

  /** What was published last. @throws SdkError ERR_BUSY before. */
  async healthNow(): Promise<HealthInput> {
    if (this.#lastHealth !== undefined) return this.#lastHealth;
    throw new SdkError('ERR_BUSY', 'The device has not measured its health yet; try again later.');
  }

  /** Publishes again how a setting stands, for whoever believes that a command changed it. */
  restate(camera: string, setting: CameraSetting): void {
    const value = this.#settings.get(this.#topics.cameraSetting(camera, setting));
    if (value === undefined || this.#options.isClosed()) return;
    this.publishCameraSetting(camera, setting, value).catch((error: unknown) => {
      this.#logger.log('warn', 'A camera setting was not published', { camera, setting, error: String(error) });
    });
  }

  async #publishState(name: StateName, topic: string, fields: object, expiresAtMs?: number): Promise<PublishResult> {
    this.requireOpen(topic);
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

  /** @throws SdkError ERR_DISPOSED */
  requireOpen(topic: string): void {
    if (!this.#options.isClosed()) return;
    throw new SdkError('ERR_DISPOSED', `The bus is closed; nothing was published on ${topic}.`);
  }
}
