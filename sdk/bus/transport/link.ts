/**
 * One MQTT connection, from CONNECT to its end. The only importer of mqtt.js.
 *
 * mqtt.js can reconnect and queue by itself; both are switched off. Its queue is unbounded and replays every message
 * of an outage, and a version cannot be renegotiated. `connection.ts` reconnects, `outbox.ts` queues.
 */
import mqtt, { type IPublishPacket, type MqttClient } from 'mqtt';
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { type ConnectOptions, LinkError, linkError, mqttOptions, silence } from './link-options.js';
import { publishPacketBytes } from './packet-size.js';
import type { ProtocolVersion, PublishProperties } from './types.js';

export interface LinkOptions extends ConnectOptions {
  readonly onMessage: (link: Link, message: IncomingMessage) => void;
}

export interface IncomingMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly retain: boolean;
  /** The broker sends it again because it saw no acknowledgement. */
  readonly duplicate: boolean;
  readonly properties: PublishProperties;
}

export interface PublishOptions {
  readonly retain: boolean;
  /** Left out on 3.1.1. */
  readonly properties?: PublishProperties | undefined;
}

/** The connection went away before the broker acknowledged; the message may or may not have arrived. */
export class LinkClosedError extends Error {}

/** MQTT 5 0x10, in a PUBACK: nobody subscribes to the topic. */
const NO_MATCHING_SUBSCRIBERS = 0x10;
/** Not every broker sends it: Mosquitto 2.0 just closes. */
export const SESSION_TAKEN_OVER = 0x8e;

export class Link {
  readonly version: ProtocolVersion;
  /** Resolves once, with the reason code of the broker's DISCONNECT if there was one. */
  readonly closed: Promise<{ readonly reasonCode: number | undefined }>;
  /** Unacknowledged QoS 1 messages that the broker takes. */
  readonly receiveMaximum: number;
  readonly #client: MqttClient;
  readonly #maximumQos: 0 | 1;
  readonly #maximumPacketBytes: number;
  readonly #pending = new Set<(error: LinkClosedError) => void>();
  /** Message ids whose PUBACK said "no matching subscribers": mqtt.js does not hand that on. */
  readonly #unheard = new Set<number>();
  #isClosed = false;

  constructor(client: MqttClient, version: ProtocolVersion) {
    this.#client = client;
    this.version = version;
    const server = client.serverProperties;
    this.#maximumQos = server?.maximumQoS === 0 ? 0 : 1;
    // 3.1.1 brokers do not say; without a limit, a message that makes them cut the connection would be resent forever.
    this.#maximumPacketBytes = Math.min(server?.maximumPacketSize ?? Number.POSITIVE_INFINITY, LIMITS.busPacketBytes);
    this.receiveMaximum = server?.receiveMaximum ?? 65_535;
    client.on('packetreceive', (packet) => {
      if (packet.cmd !== 'puback' || packet.reasonCode !== NO_MATCHING_SUBSCRIBERS) return;
      if (packet.messageId !== undefined) this.#unheard.add(packet.messageId);
    });
    let reasonCode: number | undefined;
    client.on('disconnect', (packet) => {
      reasonCode = packet.reasonCode;
    });
    this.closed = new Promise((resolve) => {
      client.once('close', () => {
        this.#isClosed = true;
        // mqtt.js does not call back for QoS 1 messages in flight when it will not reconnect.
        const error = new LinkClosedError('The connection to the broker closed before it acknowledged.');
        for (const reject of this.#pending) reject(error);
        this.#pending.clear();
        client.end(true);
        resolve({ reasonCode });
      });
    });
  }

  /**
   * Publishes with QoS 1 and waits for the acknowledgement.
   * @returns whether anybody subscribes, as far as the broker says (MQTT 5 only).
   * @throws LinkClosedError, or SdkError ERR_BUS_REJECTED when the broker refused.
   */
  publish(topic: string, payload: string, options: PublishOptions): Promise<{ readonly unheard: boolean }> {
    const properties = this.version === 5 ? options.properties : undefined;
    const qos = this.#maximumQos;
    const sizeBytes = publishPacketBytes({ topic, payload, qos, version: this.version, properties });
    if (sizeBytes > this.#maximumPacketBytes) {
      return Promise.reject(
        rejected(`takes packets up to ${this.#maximumPacketBytes} bytes, but ${topic} needs ${sizeBytes}`),
      );
    }
    return this.#tracked((resolve, reject) => {
      this.#client.publish(
        topic,
        payload,
        {
          qos,
          retain: options.retain,
          // Its types ask for a Buffer, which browsers do not have; any bytes work.
          ...(properties === undefined ? {} : { properties: properties as IPublishPacket['properties'] & {} }),
        },
        (error, packet) => {
          if (error) reject(rejected(`refused a message on ${topic}: ${reasonOf(error)}`, error));
          else resolve({ unheard: packet?.messageId !== undefined && this.#unheard.delete(packet.messageId) });
        },
      );
    });
  }

  /**
   * @param retainAsPublished MQTT 5: live messages keep their retain flag, so that a retained command shows as one even
   *   when it comes live. false: the flag marks only what was retained before the subscription, as on 3.1.1.
   * @throws LinkClosedError, or SdkError ERR_BUS_REJECTED when the broker does not grant it.
   */
  subscribe(filter: string, retainAsPublished = false): Promise<void> {
    const options = this.version === 5 ? { qos: 1 as const, rap: retainAsPublished, rh: 0 } : { qos: 1 as const };
    return this.#tracked((resolve, reject) => {
      this.#client.subscribe(filter, options, (error, granted) => {
        const denied = granted?.some((grant) => grant.qos >= 0x80) ?? false;
        if (error || denied) {
          const why = error ? reasonOf(error) : 'not authorised';
          reject(rejected(`refused the subscription to ${filter}: ${why}. Check the broker's access rules`, error));
        } else resolve(undefined);
      });
    });
  }

  unsubscribe(filter: string): Promise<void> {
    return this.#tracked((resolve, reject) => {
      this.#client.unsubscribe(filter, (error) => {
        if (error) reject(rejected(`refused to unsubscribe from ${filter}: ${reasonOf(error)}`, error));
        else resolve(undefined);
      });
    });
  }

  /** Sends DISCONNECT, so that the broker drops the will and, on MQTT 5, the session. */
  async end(): Promise<void> {
    if (this.#isClosed) return;
    this.#client.end(
      false,
      this.version === 5 ? { reasonCode: 0, properties: { sessionExpiryInterval: 0 } } : {},
      () => {},
    );
    await this.closed;
  }

  /** Cuts the connection: the broker will publish the will. */
  destroy(): void {
    this.#client.end(true);
    // end() does nothing while a gentle end() waits for acknowledgements.
    this.#client.stream.destroy();
  }

  #tracked<T>(start: (resolve: (value: T) => void, reject: (error: Error) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) {
        reject(new LinkClosedError('The connection to the broker is closed.'));
        return;
      }
      this.#pending.add(reject);
      start(
        (value) => {
          this.#pending.delete(reject);
          resolve(value);
        },
        (error) => {
          this.#pending.delete(reject);
          // "client disconnecting" and "Connection closed" of mqtt.js are not refusals.
          reject(this.#isClosed || this.#client.disconnecting ? new LinkClosedError(error.message) : error);
        },
      );
    });
  }
}

function rejected(what: string, cause?: unknown): SdkError {
  return new SdkError('ERR_BUS_REJECTED', `The broker ${what}.`, cause ? { cause } : {});
}

function reasonOf(error: Error): string {
  return 'code' in error && typeof error.code === 'number' ? `${error.message} (code ${error.code})` : error.message;
}

/**
 * Connects once.
 * @throws LinkError; signal.reason when aborted.
 */
export function openLink(options: LinkOptions, signal: AbortSignal | undefined): Promise<Link> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const client = mqtt.connect(mqttOptions(options));
    let link: Link | undefined;
    const fail = (error: unknown): void => {
      if (link !== undefined) return;
      signal?.removeEventListener('abort', onAbort);
      client.end(true);
      reject(error);
    };
    const onAbort = (): void => fail(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });

    // Kept for the whole life: mqtt.js reports parse and keepalive trouble here, and 'close' follows.
    client.on('error', (error) => fail(linkError(error, options.address.shown)));
    client.once('close', () => fail(new LinkError('silent', silence(options.address.shown))));
    // Before CONNECT: a resumed session may deliver right behind the CONNACK.
    const early: IncomingMessage[] = [];
    client.on('message', (topic, payload, packet) => {
      const message: IncomingMessage = {
        topic,
        payload,
        retain: packet.retain,
        duplicate: packet.dup,
        // What a broker sends twice comes as a list; of no use here.
        properties: (packet.properties ?? {}) as PublishProperties,
      };
      if (link === undefined) early.push(message);
      else options.onMessage(link, message);
    });
    client.once('connect', () => {
      // Small packets one after the other: with Nagle's algorithm an answer takes 40 ms longer.
      const { stream } = client;
      if ('setNoDelay' in stream && typeof stream.setNoDelay === 'function') stream.setNoDelay(true);
      signal?.removeEventListener('abort', onAbort);
      link = new Link(client, options.version);
      resolve(link);
      for (const message of early) options.onMessage(link, message);
    });
  });
}
