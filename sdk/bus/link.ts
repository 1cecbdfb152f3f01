/**
 * One MQTT connection, from CONNECT to its end. The only importer of mqtt.js.
 *
 * mqtt.js can reconnect and queue by itself; both are switched off. Its queue is unbounded and replays every message
 * of an outage, and a version cannot be renegotiated. `connection.ts` reconnects, `outbox.ts` queues.
 */
import { Socket } from 'node:net';
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import { SdkError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { BrokerAddress } from './broker-url.js';
import type { ProtocolVersion, TlsOptions } from './types.js';

export type PublishProperties = NonNullable<IPublishPacket['properties']>;

export interface WillMessage {
  readonly topic: string;
  readonly payload: string;
  readonly delaySeconds: number;
}

export interface LinkOptions {
  readonly address: BrokerAddress;
  readonly version: ProtocolVersion;
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly tls: TlsOptions | undefined;
  readonly keepaliveSeconds: number;
  readonly connectTimeoutMs: number;
  readonly will: WillMessage | undefined;
  /** MQTT 5: the broker keeps the session that long, without which a will delay has no effect [MQTT-3.1.3-9]. */
  readonly sessionExpirySeconds: number;
  readonly onMessage: (link: Link, message: IncomingMessage) => void;
}

export interface IncomingMessage {
  readonly topic: string;
  readonly payload: Buffer;
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

/**
 * Why a connection did not come about. `protocol`: the broker may speak the other version; `silent`: it closed
 * without a word, which some brokers do for the same reason.
 */
export class LinkError extends Error {
  readonly kind: 'protocol' | 'silent' | 'refused' | 'tls' | 'unreachable';
  constructor(kind: LinkError['kind'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
  }
}

/** The connection went away before the broker acknowledged; the message may or may not have arrived. */
export class LinkClosedError extends Error {}

/** MQTT 5 §3.1.2.11.4: no broker may send more unacknowledged QoS 1 messages than that. */
const OUR_RECEIVE_MAXIMUM = 64;
/** Reason codes that say "not this protocol version": 3.1.1 return code 1, MQTT 5 0x84. */
const PROTOCOL_REFUSED = new Set([0x01, 0x84]);
/** MQTT 5 0x10, in a PUBACK: nobody subscribes to the topic. */
const NO_MATCHING_SUBSCRIBERS = 0x10;
/** Not every broker sends it: Mosquitto 2.0 just closes. */
export const SESSION_TAKEN_OVER = 0x8e;
/** Our will is retained, and this broker keeps no retained messages. */
const RETAIN_NOT_SUPPORTED = 0x9a;
const TLS_ERROR = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|ERR_OSSL|HOSTNAME_MISMATCH)/;

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
    this.#maximumPacketBytes = server?.maximumPacketSize ?? Number.POSITIVE_INFINITY;
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
    // Fixed header, topic and properties stay below 2 kB for everything that we send.
    const sizeBytes = Buffer.byteLength(payload) + 2048;
    if (sizeBytes > this.#maximumPacketBytes) {
      return Promise.reject(
        rejected(`takes packets up to ${this.#maximumPacketBytes} bytes, but ${topic} needs about ${sizeBytes}`),
      );
    }
    return this.#tracked((resolve, reject) => {
      this.#client.publish(
        topic,
        payload,
        {
          qos: this.#maximumQos,
          retain: options.retain,
          ...(properties === undefined ? {} : { properties }),
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
    client.once('close', () =>
      fail(new LinkError('silent', `${options.address.shown} closed the connection without an answer.`)),
    );
    // Before CONNECT: a resumed session may deliver right behind the CONNACK.
    const early: IncomingMessage[] = [];
    client.on('message', (topic, payload, packet) => {
      const message: IncomingMessage = {
        topic,
        payload,
        retain: packet.retain,
        duplicate: packet.dup,
        properties: packet.properties ?? {},
      };
      if (link === undefined) early.push(message);
      else options.onMessage(link, message);
    });
    client.once('connect', () => {
      // Small packets one after the other: with Nagle's algorithm an answer takes 40 ms longer.
      if (client.stream instanceof Socket) client.stream.setNoDelay(true);
      signal?.removeEventListener('abort', onAbort);
      link = new Link(client, options.version);
      resolve(link);
      for (const message of early) options.onMessage(link, message);
    });
  });
}

function mqttOptions(options: LinkOptions): IClientOptions {
  const { address, tls, version } = options;
  const properties = { sessionExpiryInterval: options.sessionExpirySeconds };
  return {
    protocol: address.protocol,
    host: address.host,
    hostname: address.host,
    port: address.port,
    ...(address.path === '' ? {} : { path: address.path }),
    ...(options.username === undefined ? {} : { username: options.username }),
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(address.protocol === 'mqtts' || address.protocol === 'wss' ? tlsOptions(tls) : {}),
    clientId: options.clientId,
    protocolVersion: version,
    keepalive: options.keepaliveSeconds,
    connectTimeout: options.connectTimeoutMs,
    reconnectPeriod: 0,
    resubscribe: false,
    // 3.1.1 sessions live until somebody removes them, so none is asked for.
    clean: version === 4 || options.sessionExpirySeconds === 0,
    // Its debug output would name the user.
    log: () => {},
    ...(version === 5
      ? {
          properties: {
            ...properties,
            receiveMaximum: OUR_RECEIVE_MAXIMUM,
            maximumPacketSize: LIMITS.busPacketBytes,
          },
        }
      : {}),
    ...(options.will === undefined ? {} : { will: willOptions(options.will, version) }),
  };
}

function willOptions(will: WillMessage, version: ProtocolVersion): NonNullable<IClientOptions['will']> {
  return {
    topic: will.topic,
    payload: Buffer.from(will.payload),
    qos: 1,
    retain: true,
    ...(version === 5
      ? {
          properties: {
            willDelayInterval: will.delaySeconds,
            payloadFormatIndicator: true,
            contentType: 'application/json',
          },
        }
      : {}),
  };
}

function tlsOptions(tls: TlsOptions | undefined): Partial<IClientOptions> {
  const bytes = (pem: string | Uint8Array): string | Buffer => (typeof pem === 'string' ? pem : Buffer.from(pem));
  return {
    ...(tls?.ca === undefined ? {} : { ca: bytes(tls.ca) }),
    ...(tls?.cert === undefined ? {} : { cert: bytes(tls.cert) }),
    ...(tls?.key === undefined ? {} : { key: bytes(tls.key) }),
    ...(tls?.passphrase === undefined ? {} : { passphrase: tls.passphrase }),
    ...(tls?.servername === undefined ? {} : { servername: tls.servername }),
    rejectUnauthorized: tls?.rejectUnauthorized ?? true,
  };
}

function linkError(error: Error & { readonly code?: unknown }, shown: string): LinkError {
  const { code } = error;
  if (typeof code === 'number') {
    if (PROTOCOL_REFUSED.has(code)) return new LinkError('protocol', `${shown} does not speak this MQTT version.`);
    if (code === RETAIN_NOT_SUPPORTED) {
      return new LinkError(
        'refused',
        `${shown} keeps no retained messages, which presence and states need; switch them on.`,
      );
    }
    return new LinkError(
      'refused',
      `${shown} refused the connection: ${error.message} (code ${code}). Check user name, password and access rules.`,
    );
  }
  if (typeof code === 'string' && TLS_ERROR.test(code)) {
    return new LinkError('tls', `The TLS connection to ${shown} failed: ${code}.`, error);
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return new LinkError('silent', `${shown} closed the connection without an answer.`, error);
  }
  if (typeof code === 'string') return new LinkError('unreachable', `${shown} cannot be reached: ${code}.`, error);
  if (error.message === 'connack timeout') {
    return new LinkError('unreachable', `${shown} took the connection but did not answer in time.`);
  }
  // What is left comes from the packet parser: the other end does not speak this version, or not MQTT.
  return new LinkError('protocol', `${shown} answered with something that is not this MQTT version: ${error.message}.`);
}
