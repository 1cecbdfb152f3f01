/** Tells the bus what happens. The only one that publishes. */
import type { Bus, Logger } from 'scenebus';
import type { EventHub } from '../events/hub.js';

export interface MqttSinkOptions {
  readonly hub: EventHub;
  readonly bus: Bus;
  readonly logger: Logger;
}

/** Publishes states (descriptions, cameras, health, info) as they come. Close the bus after it. */
export function startMqttSink({ hub, bus, logger }: MqttSinkOptions): AsyncDisposable {
  const watch = (what: string, published: Promise<unknown>): void => {
    published.catch((error: unknown) => logger.log('warn', `${what} was not published`, { error: String(error) }));
  };
  const stops = [
    hub.on('scene', ({ camera, body }) => watch(`scene of ${camera}`, bus.publishScene(camera!, body))),
    hub.on('status', ({ camera, body }) => watch(`status of ${camera}`, bus.publishCameraStatus(camera!, body))),
    hub.on('health', ({ body }) => watch('health', bus.publishHealth(body))),
    hub.on('info', ({ body }) => watch('info', bus.publishInfo(body))),
  ];
  return {
    // What was handed to the bus is sent when the bus closes.
    async [Symbol.asyncDispose]() {
      await hub.idle();
      for (const stop of stops) stop();
    },
  };
}
