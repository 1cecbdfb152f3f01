/** A small MQTT 3.1.1 broker in this process, for when none is configured. Keeps nothing on disk. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { Duplex, pipeline } from 'node:stream';
import type { Aedes } from 'aedes';
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import { PacketGuard } from '../transport/packet-guard.js';
import { listenSomewhere } from './listen.js';
import { openWebSocketListener, type WebSocketListener, type WebSocketOptions } from './web-socket.js';

export interface EmbeddedBrokerOptions {
  /** Default 127.0.0.1. Any other interface needs a user name and a password. */
  readonly host?: string | undefined;
  /** Left out: 1883, or any free port when that is taken. 0: any free port. Else exactly this one. */
  readonly port?: number | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Default 64. */
  readonly maxConnections?: number | undefined;
  /** Default LIMITS.busPacketBytes. A longer packet ends its connection. */
  readonly maxPacketBytes?: number | undefined;
  /** Left out: none. For pages in a browser, which reach a broker no other way. */
  readonly webSocket?: WebSocketOptions | undefined;
  readonly logger?: Logger | undefined;
}

export interface EmbeddedBroker extends AsyncDisposable {
  /** Without credentials. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Address for browsers, without credentials; undefined without `webSocket`. */
  readonly webSocketUrl: string | undefined;
  /** Clients connected now. */
  readonly connections: number;
  close(): Promise<void>;
}

const STANDARD_PORT = 1883;
const DEFAULT_MAX_CONNECTIONS = 64;
/** Retained messages live in memory until they are replaced. */
const MAX_RETAINED_TOPICS = 4096;

/**
 * Starts a broker on loopback and says so.
 * @throws SdkError ERR_BUS_PORT_IN_USE (the port that was asked for is taken), ERR_CONFIG_INVALID (open to the network
 *   without credentials), ERR_ARGUMENT_INVALID (no such interface).
 * @example
 * await using broker = await openEmbeddedBroker();
 * await using bus = await connectBus({ url: broker.url, device: 'kitchen' });
 */
export async function openEmbeddedBroker(options: EmbeddedBrokerOptions = {}): Promise<EmbeddedBroker> {
  const host = options.host ?? '127.0.0.1';
  const logger = options.logger ?? silentLogger;
  const hasCredentials = options.username !== undefined && options.password !== undefined;
  if (!isLoopback(host) && !hasCredentials) {
    throw new SdkError(
      'ERR_CONFIG_INVALID',
      `Expected a user name and a password for a broker on ${host}, because others can reach it; or keep the host 127.0.0.1.`,
    );
  }
  // Loaded only here: most programs have a broker and never need this one.
  const { Aedes } = await import('aedes');
  const retained = new Set<string>();
  const broker = await Aedes.createBroker({
    preConnect: (_client, packet, done) => {
      // Sessions of absent clients would queue in memory without bound; every session starts and ends clean here.
      packet.clean = true;
      done(null, true);
    },
    authenticate: (_client, username, password, done) => {
      const isRight = !hasCredentials || (same(username, options.username) && same(password, options.password));
      done(null, isRight);
    },
    authorizePublish: (_client, packet, done) => {
      if (packet.topic.startsWith('$')) return done(new Error('topics that begin with $ belong to the broker'));
      if (packet.retain && packet.payload.length === 0) retained.delete(packet.topic);
      else if (packet.retain) {
        if (!retained.has(packet.topic) && retained.size >= MAX_RETAINED_TOPICS) {
          return done(new Error(`more than ${MAX_RETAINED_TOPICS} retained topics`));
        }
        retained.add(packet.topic);
      }
      done(null);
    },
  });
  for (const event of ['clientError', 'connectionError'] as const) {
    broker.on(event, (client, error) => {
      logger.log('debug', 'The embedded broker ended a connection', { client: client.id, error: error.message });
    });
  }
  const serveStream = (stream: Duplex): void =>
    serve(broker, stream, options.maxPacketBytes ?? LIMITS.busPacketBytes, logger);
  const maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS;
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    serveStream(socket);
  });
  server.maxConnections = maxConnections;
  server.on('drop', () => logger.log('warn', 'The embedded broker refused a connection: too many are open'));
  let webSocket: WebSocketListener | undefined;
  try {
    if (options.webSocket !== undefined) {
      webSocket = await openWebSocketListener(options.webSocket, { host, maxConnections, serve: serveStream, logger });
    }
    const { port, isFallback } = await listenSomewhere(server, host, options.port, STANDARD_PORT);
    const url = `mqtt://${host.includes(':') ? `[${host}]` : host}:${port}`;
    const also = webSocket === undefined ? '' : ` and ${webSocket.url}`;
    const why = isFallback ? `; port ${STANDARD_PORT} is taken` : '';
    logger.log('info', `No broker is configured, so an embedded one (MQTT 3.1.1) runs at ${url}${also}${why}`, { url });
    return new RunningBroker(broker, server, { host, port, url, webSocket });
  } catch (error) {
    await webSocket?.close();
    await new Promise<void>((resolve) => broker.close(() => resolve()));
    throw error;
  }
}

class RunningBroker implements EmbeddedBroker {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly #broker: Aedes;
  readonly #server: Server;
  readonly #webSocket: WebSocketListener | undefined;
  #closing: Promise<void> | undefined;

  constructor(
    broker: Aedes,
    server: Server,
    place: {
      readonly host: string;
      readonly port: number;
      readonly url: string;
      readonly webSocket: WebSocketListener | undefined;
    },
  ) {
    this.#broker = broker;
    this.#server = server;
    this.#webSocket = place.webSocket;
    this.host = place.host;
    this.port = place.port;
    this.url = place.url;
  }

  get webSocketUrl(): string | undefined {
    return this.#webSocket?.url;
  }

  get connections(): number {
    return this.#broker.connectedClients;
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
      await new Promise<void>((resolve) => this.#broker.close(() => resolve()));
      await this.#webSocket?.close();
      await closed;
    })();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function serve(broker: Aedes, stream: Duplex, maxPacketBytes: number, logger: Logger): void {
  const guard = new PacketGuard(maxPacketBytes);
  pipeline(stream, guard, (error) => {
    if (error instanceof SdkError)
      logger.log('warn', 'The embedded broker ended a connection', { error: error.message });
    if (error) stream.destroy();
  });
  broker.handle(Duplex.from({ readable: guard, writable: stream }));
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Compares in constant time, whatever the lengths. */
function same(given: string | Buffer | undefined, expected: string | undefined): boolean {
  if (given === undefined || expected === undefined) return false;
  const digest = (value: string | Buffer): Buffer => createHash('sha256').update(value).digest();
  return timingSafeEqual(digest(given), digest(expected));
}
