/** MQTT over WebSocket for the embedded broker, so that a page in a browser can be a client. */
import { createServer } from 'node:http';
import type { Duplex } from 'node:stream';
import { createWebSocketStream, WebSocketServer } from 'ws';
import { LIMITS } from '../../core/limits.js';
import type { Logger } from '../../core/logger.js';
import { listen } from './listen.js';

export interface WebSocketOptions {
  /** 0: any free port. */
  readonly port: number;
  /**
   * Origins of pages that may connect, such as `https://kiosk.example`. Pages of this machine (`http://localhost:…`)
   * always may; any other page that somebody opens here must not talk to the devices.
   */
  readonly origins?: readonly string[] | undefined;
}

export interface WebSocketListener {
  readonly url: string;
  close(): Promise<void>;
}

interface Surroundings {
  readonly host: string;
  readonly maxConnections: number;
  /** Speaks MQTT on the stream. */
  readonly serve: (stream: Duplex) => void;
  readonly logger: Logger;
}

/** @throws SdkError ERR_BUS_PORT_IN_USE, ERR_ARGUMENT_INVALID. */
export async function openWebSocketListener(
  { port: wanted, origins = [] }: WebSocketOptions,
  { host, maxConnections, serve, logger }: Surroundings,
): Promise<WebSocketListener> {
  const allowed = new Set(origins.map((origin) => origin.replace(/\/$/, '').toLowerCase()));
  const server = createServer((_request, response) => {
    response.writeHead(426, { 'content-type': 'text/plain' }).end('This port speaks MQTT over WebSocket.\n');
  });
  server.maxConnections = maxConnections;
  const sockets = new WebSocketServer({
    server,
    // Packets are guarded behind it; clients send one packet in one message.
    maxPayload: LIMITS.busPacketBytes,
    perMessageDeflate: false,
    handleProtocols: (protocols) => (protocols.has('mqtt') ? 'mqtt' : false),
    verifyClient: ({ origin }: { readonly origin: string | undefined }) => {
      if (origin === undefined || isOwnPage(origin) || allowed.has(origin.toLowerCase())) return true;
      logger.log('warn', 'The embedded broker refused a WebSocket connection: its origin is not allowed', { origin });
      return false;
    },
  });
  // It repeats the errors of the server, which `listen` tells.
  sockets.on('error', () => {});
  sockets.on('connection', (socket) => {
    const stream = createWebSocketStream(socket);
    stream.on('error', () => socket.terminate());
    serve(stream);
  });
  const port = await listen(server, host, wanted);
  return {
    url: `ws://${host.includes(':') ? `[${host}]` : host}:${port}`,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets.clients) socket.terminate();
      sockets.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A page that this machine serves. The name counts, not its address: a name that leads here is not ours. */
function isOwnPage(origin: string): boolean {
  const host = URL.canParse(origin) ? new URL(origin).hostname : '';
  return host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}
