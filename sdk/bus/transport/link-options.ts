/** What mqtt.js wants for one connection, and what its errors mean. */
import type { IClientOptions } from 'mqtt';
import { LIMITS } from '../../core/limits.js';
import type { BrokerAddress } from './broker-url.js';
import type { ProtocolVersion, TlsOptions } from './types.js';

export interface WillMessage {
  readonly topic: string;
  readonly payload: string;
  readonly delaySeconds: number;
}

export interface ConnectOptions {
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

/** MQTT 5 §3.1.2.11.4: no broker may send more unacknowledged QoS 1 messages than that. */
const OUR_RECEIVE_MAXIMUM = 64;
/** Reason codes that say "not this protocol version": 3.1.1 return code 1, MQTT 5 0x84. */
const PROTOCOL_REFUSED = new Set([0x01, 0x84]);
/** Our will is retained, and this broker keeps no retained messages. */
const RETAIN_NOT_SUPPORTED = 0x9a;
const TLS_ERROR = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|ERR_OSSL|HOSTNAME_MISMATCH)/;

/** The options of mqtt.js for one connection, which does not reconnect by itself. */
export function mqttOptions(options: ConnectOptions): IClientOptions {
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
    payload: will.payload as unknown as Buffer,
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

/** Of an end that closes a connection without a word. */
export function silence(shown: string): string {
  return `Expected an MQTT broker at ${shown}, but it closed the connection without an answer.`;
}

/**
 * What an error of mqtt.js or of the socket means for the connection. `shown` is the URL of the broker without
 * secrets.
 */
export function linkError(error: Error & { readonly code?: unknown }, shown: string): LinkError {
  const { code } = error;
  if (typeof code === 'number') {
    if (PROTOCOL_REFUSED.has(code))
      return new LinkError('protocol', `Expected ${shown} to speak this MQTT version, but it does not.`);
    if (code === RETAIN_NOT_SUPPORTED) {
      return new LinkError(
        'refused',
        `${shown} keeps no retained messages, which presence and states need; switch them on.`,
      );
    }
    return new LinkError(
      'refused',
      `Expected to be let in at ${shown}, but the broker refused the connection: ${error.message} (code ${code}). Check user name, password and access rules.`,
    );
  }
  if (typeof code === 'string' && TLS_ERROR.test(code)) {
    return new LinkError('tls', `Expected a TLS connection to ${shown}, but it failed: ${code}.`, error);
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return new LinkError('silent', silence(shown), error);
  }
  if (typeof code === 'string')
    return new LinkError('unreachable', `Expected a broker at ${shown}, but it cannot be reached: ${code}.`, error);
  if (error.message === 'connack timeout') {
    return new LinkError(
      'unreachable',
      `Expected an answer from the broker ${shown}, but it took the connection and said nothing in time.`,
    );
  }
  // What is left comes from the packet parser: the other end does not speak this version, or not MQTT.
  return new LinkError(
    'protocol',
    `Expected ${shown} to speak this MQTT version, but it answered something else: ${error.message}.`,
  );
}
