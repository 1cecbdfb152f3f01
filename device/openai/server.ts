/** The API that everybody's tools speak, over one loaded model. */
import { timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { type Logger, SdkError } from 'scenebus';
import { registerSecret } from 'scenebus/service';
import { isLoopback, namesOf, requireKnownHost, requireOwnOrigin } from '../http/browser-guard.js';
import { digest } from '../http/secrets.js';
import { ApiError, ollamaError, openAiError, refusalFor, toldRefusal } from './api-error.js';
import { addChatCompletions } from './chat-completions.js';
import type { ApiServices } from './exchange.js';
import { addOllama } from './ollama.js';
import { type PictureSources, PictureStore } from './pictures.js';
import { addResponses } from './responses.js';
import type { ServedModel } from './served-model.js';

export interface ModelServerOptions {
  readonly model: ServedModel;
  /** What clients call the model. Default: its own name. */
  readonly modelName?: string | undefined;
  /** Default 127.0.0.1. Any that is reached from other machines needs a key. */
  readonly host?: string | undefined;
  /** 0: any. */
  readonly port: number;
  /** What clients send as `Authorization: Bearer …`. */
  readonly key?: string | undefined;
  /** Names besides those of loopback that this server is reached by. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Where pictures may come from besides the requests themselves. */
  readonly pictures?: PictureSources | undefined;
  readonly logger: Logger;
}

/** With its pictures in base64: sixteen of a megabyte. */
export const BODY_BYTES = 24 * 2 ** 20;
/** Bodies that may be in memory at once; the model itself lets fewer wait. */
const OPEN_REQUESTS = 40;
const CONNECTIONS = 256;
const LEAST_KEY_CHARACTERS = 16;

export class ModelServer implements AsyncDisposable {
  /** Where it is reached, without a slash at the end. */
  readonly address: string;
  readonly #close: () => Promise<void>;

  private constructor(address: string, close: () => Promise<void>) {
    this.address = address;
    this.#close = close;
  }

  /**
   * @throws SdkError ERR_CONFIG_INVALID for an interface beyond loopback without a key, or a key that can be guessed;
   *   errors of Node (EADDRINUSE) for a port that is taken
   */
  static async start(options: ModelServerOptions): Promise<ModelServer> {
    const { model, host = '127.0.0.1', port, key, logger, allowedHosts = [] } = options;
    requireSafe(host, key);
    const app = Fastify({
      bodyLimit: BODY_BYTES,
      requestTimeout: 60_000,
      forceCloseConnections: true,
      exposeHeadRoutes: false,
      routerOptions: { maxParamLength: 600 },
    } as object) as unknown as FastifyInstance;
    app.server.maxConnections = CONNECTIONS;
    const forget = key === undefined ? () => {} : registerSecret(key);
    guard(app, key, namesOf([host, ...allowedHosts]));
    refuse(app, logger);
    const services: ApiServices = {
      model,
      name: options.modelName,
      createdAtMs: Date.now(),
      pictures: new PictureStore(options.pictures),
      logger,
    };
    addChatCompletions(app, services);
    addResponses(app, services);
    addOllama(app, services);
    try {
      await app.listen({ host, port });
    } catch (error) {
      forget();
      throw error;
    }
    const address = app.server.address();
    const bound = typeof address === 'object' && address !== null ? address.port : port;
    return new ModelServer(`http://${isIP(host) === 6 ? `[${host}]` : host}:${bound}`, async () => {
      await app.close();
      forget();
    });
  }

  /** Ends what is on its way; the model stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}

function guard(app: FastifyInstance, key: string | undefined, names: ReadonlySet<string>): void {
  const expected = key === undefined ? undefined : digest(key);
  let open = 0;
  app.addHook('onRequest', async (request, reply) => {
    // No header of CORS: a page of another origin neither sends JSON here nor reads an answer.
    void reply.headers({ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' });
    requireKnownHost(request, names, '--allow-host');
    requireOwnOrigin(request);
    if (expected !== undefined && !isKey(request, expected))
      throw new ApiError(401, 'invalid_api_key', 'Expected the key of this server as Authorization: Bearer KEY.');
    if (open >= OPEN_REQUESTS)
      throw new ApiError(429, 'ERR_BUSY', `Expected at most ${OPEN_REQUESTS} requests at once. Try again in a moment.`);
    open++;
    reply.raw.once('close', () => open--);
  });
}

function isKey(request: FastifyRequest, expected: Buffer): boolean {
  const given = /^Bearer (.{1,512})$/i.exec(request.headers.authorization ?? '')?.[1];
  return given !== undefined && timingSafeEqual(digest(given), expected);
}

function refuse(app: FastifyInstance, logger: Logger): void {
  app.setErrorHandler((error, request, reply) => {
    // Nobody is there to be told, and nothing is wrong.
    if ((error as Error).name === 'AbortError' && refusalFor(error) === undefined) return reply.code(499).send();
    const refusal = toldRefusal(error, logger);
    if (refusal.retryAfterSeconds !== undefined) void reply.header('retry-after', String(refusal.retryAfterSeconds));
    return reply.code(refusal.statusCode).send(formFor(request)(refusal));
  });
  app.setNotFoundHandler((request, reply) => {
    const message = `There is no ${request.method} ${request.url.slice(0, 200)} here.`;
    return reply.code(404).send(formFor(request)({ statusCode: 404, code: 'not_found', message }));
  });
}

function formFor({ url }: FastifyRequest): typeof openAiError | typeof ollamaError {
  return url.startsWith('/api/') ? ollamaError : openAiError;
}

function requireSafe(host: string, key: string | undefined): void {
  if (key !== undefined && key.length < LEAST_KEY_CHARACTERS)
    throw new SdkError(
      'ERR_CONFIG_INVALID',
      `Expected a key of at least ${LEAST_KEY_CHARACTERS} characters; make one with: openssl rand -hex 32`,
    );
  if (key !== undefined || isLoopback(host)) return;
  throw new SdkError(
    'ERR_CONFIG_INVALID',
    `The model would be reached from other machines at ${host}, which needs a key: --key-file, or SCENEBUS_SERVE_KEY. Or stay on 127.0.0.1 and use a tunnel: ssh -L 8089:127.0.0.1:8089 DEVICE`,
  );
}
