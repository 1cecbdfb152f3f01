/** A small MQTT 3.1.1 broker in this process, for when none is configured. Keeps nothing on disk. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { Duplex, pipeline } from 'node:stream';
import type { Aedes } from 'aedes';
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import { PacketGuard } from '../transport/packet-guard.js';

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
  readonly logger?: Logger | undefined;
}

export interface EmbeddedBroker extends AsyncDisposable {
  /** Without credentials. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
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
  const server = createServer((socket) =>
    serve(broker, socket, options.maxPacketBytes ?? LIMITS.busPacketBytes, logger),
  );
  server.maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS;
  server.on('drop', () => logger.log('warn', 'The embedded broker refused a connection: too many are open'));
  try {
    const port = await listenSomewhere(server, host, options.port, logger);
    const url = `mqtt://${host.includes(':') ? `[${host}]` : host}:${port}`;
    logger.log('info', `No broker is configured, so an embedded one (MQTT 3.1.1) runs at ${url}`, { url });
    return new RunningBroker(broker, server, host, port, url);
  } catch (error) {
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
  #closing: Promise<void> | undefined;

  constructor(broker: Aedes, server: Server, host: string, port: number, url: string) {
    this.#broker = broker;
    this.#server = server;
    this.host = host;
    this.port = port;
    this.url = url;
  }

  get connections(): number {
    return this.#broker.connectedClients;
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
      await new Promise<void>((resolve) => this.#broker.close(() => resolve()));
      await closed;
    })();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function serve(broker: Aedes, socket: Socket, maxPacketBytes: number, logger: Logger): void {
  socket.setNoDelay(true);
  const guard = new PacketGuard(maxPacketBytes);
  pipeline(socket, guard, (error) => {
    if (error instanceof SdkError)
      logger.log('warn', 'The embedded broker ended a connection', { error: error.message });
    if (error) socket.destroy();
  });
  broker.handle(Duplex.from({ readable: guard, writable: socket }));
}

async function listenSomewhere(
  server: Server,
  host: string,
  wanted: number | undefined,
  logger: Logger,
): Promise<number> {
  try {
    return await listen(server, host, wanted ?? STANDARD_PORT);
  } catch (error) {
    if (wanted !== undefined || !(error instanceof SdkError) || error.code !== 'ERR_BUS_PORT_IN_USE') throw error;
    logger.log('info', `Port ${STANDARD_PORT} is taken, so the embedded broker uses another one`);
    return listen(server, host, 0);
  }
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (cause: NodeJS.ErrnoException): void => {
      reject(
        cause.code === 'EADDRINUSE' || cause.code === 'EACCES'
          ? new SdkError(
              'ERR_BUS_PORT_IN_USE',
              `Expected port ${port} on ${host} to be free for the embedded broker, but ${
                cause.code === 'EACCES' ? 'this user may not open it' : 'another program uses it'
              }. Choose another port, leave the port out, or use the broker that runs there.`,
              { cause, details: { host, port } },
            )
          : new SdkError(
              'ERR_ARGUMENT_INVALID',
              `Expected an interface of this machine for the embedded broker, but ${host}:${port} cannot be opened (${cause.code ?? cause.message}).`,
              { cause, details: { host, port } },
            ),
      );
    };
    server.once('error', onError);
    server.listen(port, host, () => {
      server.off('error', onError);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
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
