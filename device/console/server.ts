/** The console: a page and an HTTP API of one device. */
import { isIP, type Socket } from 'node:net';
import rateLimit from '@fastify/rate-limit';
import webSocket from '@fastify/websocket';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { SdkError } from 'scenebus';
import { readTlsFiles } from 'scenebus/bus';
import { DisposalStack, decodeOnlyWebPictures } from 'scenebus/service';
import { z } from 'zod';
import { isLoopback } from '../http/browser-guard.js';
import { HttpError, refusalOf } from '../http/http-error.js';
import { Credentials } from './access/credentials.js';
import { createGuard } from './access/guard.js';
import type { RequiredRole } from './access/roles.js';
import { Sessions } from './access/sessions.js';
import { openApiDocument } from './api/openapi.js';
import { type Route, route } from './api/route.js';
import type { ConsoleDevice } from './context.js';
import type { DeviceStateFollower } from './device-state.js';
import { FrameStore } from './live/frame-store.js';
import type { LogTail } from './log-tail.js';
import type { MessageLog } from './mqtt/message-log.js';
import { accessRoutes } from './routes/access.js';
import { askRoutes } from './routes/ask.js';
import { calibrationRoutes } from './routes/calibration.js';
import { deviceRoutes } from './routes/device.js';
import { healthRoutes } from './routes/health.js';
import { heatMapRoutes } from './routes/heat-maps.js';
import { addLive } from './routes/live.js';
import { addPage } from './routes/page.js';
import type { ConsoleServices } from './routes/services.js';
import { settingsRoutes } from './routes/settings.js';
import { setupRoutes } from './routes/setup.js';
import { timelineRoutes } from './routes/timeline.js';
import { watchTrialRoutes } from './routes/watch-trials.js';
import { watchRoutes } from './routes/watches.js';
import { ConfigEditor } from './settings/config-editor.js';
import { SetupProgress } from './setup/setup-progress.js';
import { visibleJournal } from './visible-journal.js';

export interface ConsoleOptions {
  readonly device: ConsoleDevice;
  readonly state: DeviceStateFollower;
  readonly log: LogTail;
  readonly messages: MessageLog;
  /** Where passwords and tokens are kept; undefined: nowhere. */
  readonly credentialsFile: string | undefined;
}

/** A route and what it demands, for tests and readers. */
export interface ServedRoute {
  readonly method: string;
  readonly path: string;
  readonly role: RequiredRole;
}

const DEFAULT_PORT = 8_088;
const JSON_BYTES = 64 * 1024;
const REQUESTS_PER_MINUTE = 1_200;
/** A viewer asks for the next picture with one short message; nothing longer is read. */
const VIEWER_MESSAGE_BYTES = 64;
/** Of a stop: for answers that are on their way. */
const LAST_ANSWERS_MS = 500;

const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), microphone=(), geolocation=()',
};

export class Console implements AsyncDisposable {
  /** Where it is reached, without a slash at the end. */
  readonly address: string;
  readonly routes: readonly ServedRoute[];
  readonly #credentials: Credentials;
  readonly #resources: DisposalStack;

  private constructor(address: string, routes: readonly ServedRoute[], credentials: Credentials, stack: DisposalStack) {
    this.address = address;
    this.routes = routes;
    this.#credentials = credentials;
    this.#resources = stack;
  }

  /**
   * @throws SdkError ERR_CONFIG_INVALID for an interface beyond loopback without TLS and a password; errors of Node
   *   (EADDRINUSE) for a port that is taken
   */
  static async start(options: ConsoleOptions): Promise<Console> {
    const { device, state, log, messages, credentialsFile } = options;
    const { console: config, secrets } = device.config;
    const resources = new DisposalStack();
    try {
      const credentials = await Credentials.open({ file: credentialsFile, adminPassword: secrets.consolePassword });
      requireSafeInterface(config, credentials);
      // Pictures come in from here on: decoders that no page needs are out of their reach.
      decodeOnlyWebPictures();
      const stop = new AbortController();
      const frames = resources.use(new FrameStore(device.hub, visibleJournal(device.journal, state)));
      const sessions = new Sessions(() => performance.now());
      const isSecure = config.tls !== undefined;
      const setup = resources.use(await SetupProgress.open({ device, state, signal: stop.signal }));
      const settings =
        device.settings &&
        new ConfigEditor({ access: device.settings, running: () => device.config, logger: device.logger });
      const services = {
        device,
        credentials,
        sessions,
        state,
        frames,
        log,
        messages,
        settings,
        setup,
        isSecure,
        signal: stop.signal,
      };
      const tls = config.tls && (await readTlsFiles(config.tls));
      const app = Fastify({
        bodyLimit: JSON_BYTES,
        requestTimeout: 30_000,
        forceCloseConnections: true,
        exposeHeadRoutes: false,
        routerOptions: { maxParamLength: 600 },
        ...(tls && { https: { cert: tls.cert, key: tls.key } }),
      } as object) as unknown as FastifyInstance;
      const sockets = new Set<Socket>();
      app.server.on('connection', (socket: Socket) => {
        sockets.add(socket);
        socket.once('close', () => sockets.delete(socket));
      });
      const served = await serve(app, services, resources, [...config.hosts, config.host]);
      const port = await listen(app, config);
      resources.defer(async () => {
        stop.abort(new SdkError('ERR_DISPOSED', 'The service is stopping.'));
        const closed = app.close();
        // A page that goes on listening, or a stranger that never reads its refusal, must not hold up the end.
        const deadline = setTimeout(() => sockets.forEach((socket) => void socket.destroy()), LAST_ANSWERS_MS);
        await closed.finally(() => clearTimeout(deadline));
      });
      const host = isIP(config.host) === 6 ? `[${config.host}]` : config.host;
      return new Console(`${isSecure ? 'https' : 'http'}://${host}:${port}`, served, credentials, resources);
    } catch (error) {
      await resources[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** false: only a one-time link lets anybody in. */
  get hasPassword(): boolean {
    return this.#credentials.hasAdminPassword;
  }

  /** An address that lets one browser in as admin, once; asking again makes the last one worthless. */
  makeLink(): string {
    // Behind a #: it goes to no server and into no log before the page sends it.
    return `${this.address}/#token=${this.#credentials.makeLink()}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]();
  }
}

async function serve(
  app: FastifyInstance,
  services: ConsoleServices,
  resources: DisposalStack,
  hosts: readonly string[],
): Promise<ServedRoute[]> {
  const served: ServedRoute[] = [];
  const { logger } = services.device;
  app.decorateRequest('principal', undefined);
  app.addHook('onRoute', ({ method, url, config }) => {
    // A route without a role is a mistake of ours that no one may profit from.
    if (config?.role === undefined) throw new Error(`The route ${url} declares no role.`);
    for (const each of [method].flat()) served.push({ method: each, path: url, role: config.role });
  });
  app.addHook('onRequest', async (_request, reply) => {
    void reply.headers(SECURITY_HEADERS).header('cache-control', 'no-store');
  });
  await app.register(rateLimit, { max: REQUESTS_PER_MINUTE, timeWindow: 60_000, cache: 1_000 });
  app.addHook('onRequest', createGuard({ ...services, hosts }));
  await app.register(webSocket, { options: { maxPayload: VIEWER_MESSAGE_BYTES } });
  app.addContentTypeParser(['image/jpeg', 'image/png', 'image/webp'], { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  app.setErrorHandler((error, _request, reply) => {
    const refusal = refusalOf(error);
    if (refusal === undefined) logger.log('error', 'a request to the console failed', { error });
    const { statusCode, code, message } =
      refusal ?? new HttpError(500, 'ERR_INTERNAL', 'The device failed; see its log.');
    void reply.code(statusCode).send({ error: { code, message } });
  });
  app.setNotFoundHandler((_request, reply) => {
    void reply.code(404).send({ error: { code: 'NOT_FOUND', message: 'There is nothing at this address.' } });
  });

  const routes = [
    ...accessRoutes(services),
    ...deviceRoutes(services),
    ...healthRoutes(services),
    ...askRoutes(services),
    ...heatMapRoutes(services),
    ...timelineRoutes(services),
    ...settingsRoutes(services),
    ...setupRoutes(services),
    ...watchRoutes(services),
    ...watchTrialRoutes(services),
    ...calibrationRoutes(services, resources),
  ];
  const openApi = route({
    method: 'GET',
    path: '/api/openapi.json',
    role: 'public',
    summary: 'This API as an OpenAPI document',
    response: { type: 'json', schema: z.looseObject({}) },
    handle: async () => document,
  });
  const document = openApiDocument([...routes, openApi]);
  for (const each of [...routes, openApi]) addRoute(app, each);
  addLive(app, services, resources);
  await addPage(app, logger);
  await app.ready();
  return served;
}

function addRoute(app: FastifyInstance, declaration: Route): void {
  const { method, path, role, maxPerMinute, bodyLimitBytes, response } = declaration;
  app.route({
    method,
    url: path,
    config: { role, ...(maxPerMinute === undefined ? {} : { rateLimit: { max: maxPerMinute, timeWindow: 60_000 } }) },
    ...(bodyLimitBytes === undefined ? {} : { bodyLimit: bodyLimitBytes }),
    handler: async (request, reply) => {
      const result = await declaration.handle({ ...parse(declaration, request), reply, request } as never);
      if (response.type === 'empty') return reply.code(204).send();
      if (response.type === 'bytes') void reply.type(response.mediaType);
      return reply.send(result instanceof Uint8Array ? Buffer.from(result) : result);
    },
  });
}

/** @throws HttpError 400 in words */
function parse({ params, query, body, bodyTypes }: Route, request: FastifyRequest) {
  const check = (schema: z.ZodType | undefined, value: unknown, what: string): unknown => {
    const parsed = (schema ?? z.looseObject({})).safeParse(value);
    if (parsed.success) return parsed.data;
    throw new HttpError(
      400,
      'REQUEST_INVALID',
      `The ${what} is not what is expected: ${z.prettifyError(parsed.error)}`,
    );
  };
  if (bodyTypes !== undefined && !Buffer.isBuffer(request.body))
    throw new HttpError(415, 'MEDIA_TYPE_UNSUPPORTED', `Expected the picture itself, as ${bodyTypes.join(', ')}.`);
  return {
    params: check(params, { ...(request.params as object) }, 'address'),
    query: check(query ?? z.strictObject({}), { ...(request.query as object) }, 'query'),
    body: bodyTypes !== undefined ? request.body : body === undefined ? undefined : check(body, request.body, 'body'),
    principal: request.principal,
  };
}

function requireSafeInterface({ host, tls }: ConsoleDevice['config']['console'], credentials: Credentials): void {
  if (isLoopback(host)) return;
  const missing = [
    ...(tls === undefined ? ['TLS (console.tls with certFile and keyFile)'] : []),
    ...(credentials.hasAdminPassword
      ? []
      : ['a password (SCENEBUS_CONSOLE_PASSWORD, or one set on the page over loopback)']),
  ];
  if (missing.length === 0) return;
  throw new SdkError(
    'ERR_CONFIG_INVALID',
    `The console would be reached from other machines at ${host}, which needs ${missing.join(' and ')}: pictures and passwords would cross the network in the open. Set that, or console.host to 127.0.0.1 and use a tunnel: ssh -L 8088:127.0.0.1:8088 DEVICE`,
  );
}

/** A port that was asked for, or nothing; the usual one, or any. */
async function listen(app: FastifyInstance, { host, port }: ConsoleDevice['config']['console']): Promise<number> {
  try {
    await app.listen({ host, port: port ?? DEFAULT_PORT });
  } catch (error) {
    if (port !== undefined || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    await app.listen({ host, port: 0 });
  }
  const address = app.server.address();
  return typeof address === 'object' && address !== null ? address.port : (port ?? DEFAULT_PORT);
}
