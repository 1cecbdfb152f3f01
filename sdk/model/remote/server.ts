/** HTTP to one server: a request, and the response once its status is known. Bounded in time, size and connections. */
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { refusalOf, unreachable } from './failures.js';
import type { ResolvedRemote } from './options.js';

const HEADER_BYTES = 16 * 1024;
/** Of a body that says why not. */
const REFUSAL_BYTES = 64 * 1024;
const IDLE_CONNECTION_MS = 30_000;

/** What is sent. */
export interface Outgoing {
  readonly method: 'GET' | 'POST';
  /** Below the address of the API: `/models`. */
  readonly path: string;
  readonly body?: object | undefined;
  readonly signal: AbortSignal;
}

/** Its connections are kept for the next request; disposing ends them. */
export class RemoteServer implements Disposable {
  /** For people: scheme, host and path. */
  readonly where: string;
  readonly #address: URL;
  readonly #key: string | undefined;
  readonly #stallMs: number;
  readonly #agent: HttpAgent;

  constructor({ address, key, ca, concurrency, stallMs }: ResolvedRemote) {
    this.where = address.href;
    this.#address = address;
    this.#key = key;
    this.#stallMs = stallMs;
    const options = {
      keepAlive: true,
      maxSockets: concurrency,
      maxFreeSockets: concurrency,
      timeout: IDLE_CONNECTION_MS,
    };
    this.#agent = address.protocol === 'https:' ? new HttpsAgent({ ...options, ca }) : new HttpAgent(options);
  }

  /**
   * A response of status 200, whose body the caller reads to its end or destroys.
   * @throws SdkError ERR_REMOTE_*, ERR_BUSY; the signal's reason
   */
  async open({ method, path, body, signal }: Outgoing): Promise<IncomingMessage> {
    signal.throwIfAborted();
    const response = await this.#send(method, path, body === undefined ? undefined : JSON.stringify(body), signal);
    const { statusCode: status = 0, headers } = response;
    const encoding = headers['content-encoding'] ?? 'identity';
    if (status === 200 && encoding === 'identity') return response;
    if (status === 200) {
      response.destroy();
      throw unreachable(this.where, `it compresses its answer (${encoding.slice(0, 20)}), which was not asked for`);
    }
    const said = await this.readAll(response, REFUSAL_BYTES, signal).catch(() => '');
    signal.throwIfAborted();
    const { 'retry-after': retryAfter, location } = headers;
    throw refusalOf(this.where, {
      status,
      body: said,
      ...(retryAfter && { retryAfter }),
      ...(location && { location }),
    });
  }

  /** The text of a body. @throws SdkError ERR_REMOTE_UNREACHABLE for one that breaks off or is longer */
  async readAll(response: IncomingMessage, maxBytes: number, signal: AbortSignal): Promise<string> {
    const pieces: Buffer[] = [];
    let size = 0;
    for await (const piece of this.pieces(response, signal)) {
      size += piece.length;
      if (size > maxBytes) throw unreachable(this.where, `its answer is longer than ${maxBytes} bytes`);
      pieces.push(piece);
    }
    return Buffer.concat(pieces).toString('utf8');
  }

  /** A body as it comes; destroyed when its reader leaves. @throws as `readAll` */
  async *pieces(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
    try {
      for await (const piece of response as AsyncIterable<Buffer>) yield piece;
    } catch (error) {
      signal.throwIfAborted();
      throw unreachable(this.where, `the connection broke off (${messageOf(error)})`, error, { how: 'cut' });
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  #send(method: string, path: string, body: string | undefined, signal: AbortSignal): Promise<IncomingMessage> {
    const url = new URL(this.#address.href + path);
    const send = url.protocol === 'https:' ? requestHttps : requestHttp;
    return new Promise((resolve, reject) => {
      const request = send(url, {
        method,
        agent: this.#agent,
        signal,
        maxHeaderSize: HEADER_BYTES,
        headers: {
          accept: 'text/event-stream, application/json',
          'accept-encoding': 'identity',
          'user-agent': 'scenebus',
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }),
          ...(this.#key === undefined ? {} : { authorization: `Bearer ${this.#key}` }),
        },
      });
      // Without a byte in either direction for so long, before the answer and within it.
      request.setTimeout(this.#stallMs, () => request.destroy(new Error(`nothing came for ${this.#stallMs} ms`)));
      request.once('response', resolve);
      request.on('error', (error) => {
        if (signal.aborted) reject(signal.reason);
        else reject(unreachable(this.where, messageOf(error), error));
      });
      request.end(body);
    });
  }
}

function messageOf(error: unknown): string {
  const { message, code } = error as { message?: string; code?: string };
  return message || code || String(error);
}
