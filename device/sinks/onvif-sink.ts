/**
 * Events of watches as ONVIF devices send theirs to an MQTT broker: "Event Broker" of the ONVIF Core Specification 26.06,
 * payload `onvif-ej`. A topic is `<prefix>/onvif-ej/RuleEngine/scenebus:Watch/&<camera>/<watch>`: `tns1:` is dropped, and
 * a topic of a vendor has its alias before a colon; behind `&` stand the values of Source, in their order.
 */
import type { Logger } from 'scenebus';
import type { Bus, EventInput } from 'scenebus/bus';
import type { Journal } from '../journal/journal.js';
import type { OutletLimits } from '../journal/outlet.js';
import type { EventRecord } from '../journal/record.js';
import { Delivery } from './delivery.js';

export interface OnvifSinkOptions {
  readonly journal: Journal;
  readonly bus: Bus;
  readonly logger: Logger;
  readonly limits: OutletLimits;
  readonly maxPerSecond: number;
  readonly topicPrefix: string;
}

/** Values of simple items; quotes may be left out of numbers and of true and false. */
type Items = Readonly<Record<string, string | number | boolean>>;

export interface OnvifEvent {
  readonly levels: readonly string[];
  readonly payload: { readonly UtcTime: string; readonly Source: Items; readonly Data: Items };
}

const OUTLET = 'mqtt-onvif';
const LOCAL_TOPIC = ['onvif-ej', 'RuleEngine', 'scenebus:Watch'];

/** In order and at least once, from the journal, with a cursor of its own. */
export class OnvifSink implements AsyncDisposable {
  readonly #delivery: Delivery;
  readonly #stop: () => void;

  private constructor(delivery: Delivery, stop: () => void) {
    this.#delivery = delivery;
    this.#stop = stop;
  }

  static async start({
    journal,
    bus,
    logger,
    limits,
    maxPerSecond,
    topicPrefix,
  }: OnvifSinkOptions): Promise<OnvifSink> {
    const outlet = await journal.openOutlet(OUTLET, ['watch'], limits);
    const delivery = new Delivery({
      outlet,
      logger,
      maxPerSecond,
      isConnected: () => bus.state === 'online',
      send: ({ record, mayBeRepeated }) => {
        const { levels, payload } = onvifEvent(record);
        const where = { prefix: topicPrefix, levels };
        return bus.publishOutward(where, payload, { queue: false, isRepeated: mayBeRepeated });
      },
    });
    const stop = bus.onStateChange((state) => {
      if (state === 'online') delivery.pump();
    });
    return new OnvifSink(delivery, stop);
  }

  /** Switched off: nothing waits for it. */
  static async forget(journal: Journal): Promise<void> {
    await journal.forgetOutlet(OUTLET);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await this.#delivery[Symbol.asyncDispose]();
  }
}

/** What became of an event of a watch. */
export function onvifEvent({ atMs, camera, frame, body }: EventRecord): OnvifEvent {
  const { watch, eventId, type, value, probability } = JSON.parse(body) as Omit<EventInput, 'frame'>;
  const Source = { VideoSource: camera ?? '', Rule: watch };
  const [first, ...rest] = Object.values(Source);
  return {
    levels: [...LOCAL_TOPIC, `&${first}`, ...rest],
    payload: {
      UtcTime: new Date(atMs).toISOString(),
      Source,
      Data: {
        // Whether what the rule watches for is there; the value tells what.
        State: type !== 'end',
        Change: type,
        Value: value,
        ...(probability === null ? {} : { Probability: probability }),
        EventId: eventId,
        ...(frame === null ? {} : { FrameId: frame.id }),
      },
    },
  };
}
