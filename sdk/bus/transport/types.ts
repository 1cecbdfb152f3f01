/** A connection to a broker, as devices and clients configure and see it. */
import type { Logger } from '../../core/logger.js';
import type { CallOptions } from '../../core/types.js';

export type ProtocolVersion = 4 | 5;

/** PEM text or bytes, never a path; `readTlsFiles` reads files. */
export interface TlsOptions {
  readonly ca?: string | Uint8Array | undefined;
  readonly cert?: string | Uint8Array | undefined;
  readonly key?: string | Uint8Array | undefined;
  readonly passphrase?: string | undefined;
  /** Name that the certificate must carry when it is not the host of the URL. */
  readonly servername?: string | undefined;
  /** Default true. false accepts any certificate: only for tests. */
  readonly rejectUnauthorized?: boolean | undefined;
}

/** A pause is a quarter of what the outage has lasted, within these bounds, with jitter. */
export interface Backoff {
  readonly initialMs: number;
  readonly maxMs: number;
}

/** What a connection to a broker needs; the same for devices and for clients. */
export interface ConnectionOptions extends CallOptions {
  /** `mqtt://`, `mqtts://`, `ws://` or `wss://`. Credentials in it are used and never logged. */
  readonly url: string;
  /**
   * Other nodes of the same broker cluster, in the same form: whichever answers is used, and the next one in turn when
   * it is lost. Default: none.
   */
  readonly alternatives?: readonly string[] | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** MQTT client id. Two connections with one id disconnect each other. */
  readonly clientId?: string | undefined;
  readonly tls?: TlsOptions | undefined;
  /** 5 = MQTT 5, 4 = MQTT 3.1.1. Left out: 5 is tried first, then 3.1.1. */
  readonly protocolVersion?: ProtocolVersion | undefined;
  readonly keepaliveSeconds?: number | undefined;
  readonly connectTimeoutMs?: number | undefined;
  /**
   * true (default): resolve when connected, reject with ERR_BUS_UNREACHABLE when the first attempt fails.
   * false: return at once and go on trying in the background.
   */
  readonly waitForBroker?: boolean | undefined;
  /** Pause between attempts. Default 500 ms to 30 s. */
  readonly backoff?: Backoff | undefined;
  readonly logger?: Logger | undefined;
}

/** offline: no broker now, being tried again. */
export type BusState = 'connecting' | 'online' | 'offline' | 'closed';

/**
 * delivered: the broker acknowledged. queued: the broker is away; a state topic goes out on reconnect as its latest
 * value, an answer in order; what is lost on the way is counted in `stats` and logged.
 * superseded: a newer value of the same topic took its place.
 */
export type PublishResult = 'delivered' | 'queued' | 'superseded';

/** MQTT 5 properties of a message, as far as the bus uses them. */
export interface PublishProperties {
  readonly payloadFormatIndicator?: boolean | undefined;
  readonly messageExpiryInterval?: number | undefined;
  readonly contentType?: string | undefined;
  readonly responseTopic?: string | undefined;
  readonly correlationData?: Uint8Array | undefined;
  readonly userProperties?: Readonly<Record<string, string>> | undefined;
}
