/** Broker addresses: checked, split into what mqtt.js wants, and shown without credentials. */
import { SdkError } from '../../core/errors.js';

/** Of a broker address. */
export type BrokerProtocol = 'mqtt' | 'mqtts' | 'ws' | 'wss';
const DEFAULT_PORTS: Readonly<Record<BrokerProtocol, number>> = { mqtt: 1883, mqtts: 8883, ws: 80, wss: 443 };

/** A broker address, taken apart. */
export interface BrokerAddress {
  readonly protocol: BrokerProtocol;
  readonly host: string;
  readonly port: number;
  /** Only for WebSockets. */
  readonly path: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** For messages and logs: no credentials, no query. */
  readonly shown: string;
}

/** Replaces credentials and query of anything that looks like a URL; for text that goes to logs. */
export function redactUrl(text: string): string {
  return text.replace(/([a-z][a-z0-9+.-]*:\/\/)([^\s/?#]*)@/gi, '$1***@').replace(/(:\/\/[^\s?]*)\?\S*/g, '$1?***');
}

/** @throws SdkError ERR_ARGUMENT_INVALID; the message never repeats credentials. */
export function parseBrokerUrl(url: string): BrokerAddress {
  const wrong = (what: string): SdkError =>
    new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected a broker address like mqtt://192.168.1.10:1883 (mqtt, mqtts, ws or wss), but ${what}.`,
    );
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    // The text cannot be taken apart, so credentials in it cannot be told from the rest: it is not repeated.
    throw wrong('the text that came is not a URL');
  }
  const protocol = parsed.protocol.slice(0, -1);
  if (!Object.hasOwn(DEFAULT_PORTS, protocol)) throw wrong(`received the protocol ${JSON.stringify(protocol)}`);
  if (parsed.hostname === '') throw wrong('it names no host');
  const known = protocol as BrokerProtocol;
  const isWebSocket = known === 'ws' || known === 'wss';
  if (!isWebSocket && parsed.pathname !== '' && parsed.pathname !== '/') throw wrong('received a path after the host');
  const port = parsed.port === '' ? DEFAULT_PORTS[known] : Number(parsed.port);
  if (port === 0) throw wrong('received port 0');
  const path = isWebSocket ? parsed.pathname : '';
  return {
    protocol: known,
    host: parsed.hostname.replace(/^\[|\]$/g, ''),
    port,
    path: isWebSocket ? `${parsed.pathname}${parsed.search}` : '',
    username: decoded(parsed.username),
    password: decoded(parsed.password),
    shown: `${known}://${parsed.hostname}:${port}${path === '/' ? '' : path}`,
  };
}

function decoded(part: string): string | undefined {
  if (part === '') return undefined;
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
