/** Tells the bus what happens. The only one that publishes. */
import type { Logger } from 'scenebus';
import type { AnswerKeeper, Bus, EventInput, FrameReference, KeptAnswer, OkResponse, SceneInput } from 'scenebus/bus';
import type { AnswerBody, WatchStateBody } from '../events/events.js';
import type { EventHub } from '../events/hub.js';
import type { Journal } from '../journal/journal.js';
import type { Outlet, OutletLimits } from '../journal/outlet.js';
import type { EventRecord } from '../journal/record.js';
import { Delivery } from './delivery.js';

export interface MqttSinkOptions {
  readonly hub: EventHub;
  readonly journal: Journal;
  readonly bus: Bus;
  readonly logger: Logger;
  /** Of what waits while the broker is away. */
  readonly limits: OutletLimits;
  /** After an outage. */
  readonly maxPerSecond: number;
  /** Those that there are now. */
  readonly cameras: readonly string[];
  /** Life of a description. */
  readonly sceneExpirySeconds: number;
}

/** Of a stop: for what is on its way. */
const LAST_DELIVERIES_MS = 1_500;

/**
 * States (descriptions, cameras, health, info) go out as they come, the latest wins. Answers and events of watches go
 * out from the journal: in order, at least once. Answers do not wait behind events. Close the bus after it.
 */
export class MqttSink implements AsyncDisposable {
  readonly #options: MqttSinkOptions;
  readonly #stops: (() => void)[];
  readonly #deliveries: readonly Delivery[];
  readonly #outlets: readonly Outlet[];
  /** Watches whose retained states are still on the broker. */
  readonly #gone = new Set<string>();

  private constructor(options: MqttSinkOptions, outlets: readonly Outlet[], deliveries: readonly Delivery[]) {
    const { hub, bus, logger } = options;
    this.#options = options;
    this.#outlets = outlets;
    this.#deliveries = deliveries;
    const watch = (what: string, published: Promise<unknown>): void => {
      published.catch((error: unknown) => logger.log('warn', `${what} was not published`, { error: String(error) }));
    };
    this.#stops = [
      hub.on('scene', ({ camera, body }) => watch(`scene of ${camera}`, bus.publishScene(camera!, body))),
      hub.on('watchState', ({ camera, body }) => this.#onWatchState(camera, body)),
      hub.on('setting', ({ camera, body: { setting, value } }) =>
        watch(`${setting} of ${camera}`, bus.publishCameraSetting(camera!, setting, value)),
      ),
      hub.on('status', ({ camera, body }) => watch(`status of ${camera}`, bus.publishCameraStatus(camera!, body))),
      hub.on('health', ({ body }) => watch('health', bus.publishHealth(body))),
      hub.on('info', ({ body }) => watch('info', bus.publishInfo(body))),
      bus.onStateChange((state) => {
        if (state !== 'online') return;
        for (const delivery of deliveries) delivery.pump();
        for (const watchId of this.#gone) this.#removeWatch(watchId);
      }),
    ];
  }

  static async start(options: MqttSinkOptions): Promise<MqttSink> {
    const { journal, bus, logger, limits, maxPerSecond } = options;
    const answers = await journal.openOutlet('mqtt-answers', ['answer'], limits);
    const events = await journal.openOutlet('mqtt-events', ['watch'], limits);
    await restoreScenes(options);
    const common = { isConnected: () => bus.state === 'online', logger, maxPerSecond };
    const deliveries = [
      new Delivery({
        ...common,
        outlet: answers,
        send: async ({ record, mayBeRepeated }) => {
          const { reply } = JSON.parse(record.body) as AnswerBody;
          // Asked from within: nobody on the bus waits.
          if (reply !== undefined) await bus.sendAnswer(reply, { isRepeated: mayBeRepeated });
        },
      }),
      new Delivery({
        ...common,
        outlet: events,
        send: ({ record, mayBeRepeated }) =>
          bus.publishEvent(record.camera ?? '', { ...eventOf(record), repeated: mayBeRepeated }, { queue: false }),
      }),
    ];
    return new MqttSink(options, [answers, events], deliveries);
  }

  #onWatchState(camera: string | undefined, { watch, state }: WatchStateBody): void {
    const { bus, logger } = this.#options;
    if (state === null) {
      this.#gone.add(watch);
      this.#removeWatch(watch);
      return;
    }
    this.#gone.delete(watch);
    bus.publishWatchState(camera!, watch, state).catch((error: unknown) => {
      logger.log('warn', `state of the watch ${watch} was not published`, { error: String(error) });
    });
  }

  /** Fails while the broker is away; tried again when it is back. */
  #removeWatch(watch: string): void {
    this.#options.bus.removeWatch(watch).then(
      () => this.#gone.delete(watch),
      () => {},
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { hub, bus } = this.#options;
    await hub.idle();
    const endAtMs = performance.now() + LAST_DELIVERIES_MS;
    const isWaiting = () => this.#outlets.some(({ length }) => length > 0);
    while (isWaiting() && bus.state === 'online' && performance.now() < endAtMs)
      await new Promise((resolve) => setTimeout(resolve, 10));
    for (const delivery of this.#deliveries) await delivery[Symbol.asyncDispose]();
    // What was handed to the bus is sent when the bus closes.
    for (const stop of this.#stops) stop();
  }
}

/**
 * The last description of each camera, as far as it is not stale: the run before may have been killed with it in its
 * hands, and a camera that is down gets no other.
 */
async function restoreScenes({ journal, bus, logger, cameras, sceneExpirySeconds }: MqttSinkOptions): Promise<void> {
  for (const camera of cameras) {
    try {
      const [event] = (await journal.query({ kinds: ['scene'], camera, limit: 1 })).events;
      if (event?.frame == null || Date.now() - event.atMs >= sceneExpirySeconds * 1000) continue;
      const scene = { ...(event.body as Omit<SceneInput, 'frame'>), frame: event.frame, describedAtMs: event.atMs };
      bus.publishScene(camera, scene).catch((error: unknown) => {
        logger.log('warn', `the last scene of ${camera} was not published again`, { error: String(error) });
      });
    } catch (error) {
      logger.log('debug', `the last scene of ${camera} is not known`, { error: String(error) });
    }
  }
}

/** Verbs whose answers are results worth keeping; what else is asked for is asked again as easily. */
const KEPT_VERBS: readonly string[] = ['ask', 'describe', 'locate'];

/**
 * Makes events of the answers to callers on the bus; the sink sends them when they are recorded. Begins and ends before
 * the bus does.
 */
export class AnswerEvents {
  readonly #hub: EventHub;
  #isStopped = false;

  constructor(hub: EventHub) {
    this.#hub = hub;
  }

  readonly keep: AnswerKeeper = (reply, request) => {
    if (this.#isStopped || !KEPT_VERBS.includes(reply.payload.verb)) return false;
    const { body, camera, frame } = answerEvent(reply, request);
    void this.#hub.emit('answer', body, { camera, frame });
    return true;
  };

  /** From now on the bus answers by itself. */
  stop(): void {
    this.#isStopped = true;
  }
}

function answerEvent(
  reply: KeptAnswer,
  request: object,
): { readonly body: AnswerBody; readonly camera: string | undefined; readonly frame: FrameReference | undefined } {
  const { payload } = reply;
  const question = 'question' in request && typeof request.question === 'string' ? request.question : null;
  const base = { verb: payload.verb, question, reply };
  if (payload.status !== 'ok') {
    const error = payload.status === 'error' ? payload.error : null;
    const camera = 'camera' in request && typeof request.camera === 'string' ? request.camera : undefined;
    return { body: { ...base, answer: null, model: null, error }, camera, frame: undefined };
  }
  const { data, model, camera, frameId, frameTs } = payload as Extract<OkResponse, { verb: 'ask' }>;
  const frame = { id: frameId, capturedAtMs: Date.parse(frameTs), ...data.image };
  return { body: { ...base, answer: { ...data, text: data.text ?? '' }, model, error: null }, camera, frame };
}

function eventOf({ frame, body }: EventRecord): EventInput {
  return { frame, ...JSON.parse(body) };
}
