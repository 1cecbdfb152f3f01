/** What a request must show before a route sees it. Runs for every request, those for a WebSocket included. */
import { timingSafeEqual } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { namesOf, requireKnownHost, requireOwnOrigin } from '../../http/browser-guard.js';
import { HttpError } from '../../http/http-error.js';
import { digest } from '../../http/secrets.js';
import type { Credentials } from './credentials.js';
import { mayUse, type Principal, type RequiredRole } from './roles.js';
import { type Sessions, sessionSecret } from './sessions.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of the route, declared with it. */
    role?: RequiredRole;
  }
  interface FastifyRequest {
    principal: Principal | undefined;
  }
}

export const CSRF_HEADER = 'x-scenebus-csrf';

export interface GuardOptions {
  readonly credentials: Credentials;
  readonly sessions: Sessions;
  /** Names besides those of loopback that this console is reached by. */
  readonly hosts: readonly string[];
}

export type Guard = (request: FastifyRequest, reply: FastifyReply) => Promise<void>;

export function createGuard({ credentials, sessions, hosts }: GuardOptions): Guard {
  const names = namesOf(hosts);
  return async (request) => {
    requireKnownHost(request, names, 'console.hosts in the configuration');
    requireOwnOrigin(request);
    const principal = identify(request, credentials, sessions);
    request.principal = principal;
    // A path that is no route has no role; what it is told is that there is nothing.
    if (request.is404) return;
    const required = request.routeOptions.config.role ?? 'admin';
    if (!mayUse(required, principal)) {
      if (principal === undefined) throw new HttpError(401, 'UNAUTHENTICATED', 'Sign in first.');
      throw new HttpError(403, 'FORBIDDEN', `This needs the role ${required}; yours is ${principal.role}.`);
    }
    if (required !== 'public') requireCsrf(request, principal);
  };
}

function identify(request: FastifyRequest, credentials: Credentials, sessions: Sessions): Principal | undefined {
  const bearer = /^Bearer ([A-Za-z0-9_-]{1,128})$/.exec(request.headers.authorization ?? '')?.[1];
  if (request.headers.authorization !== undefined) {
    const role = bearer === undefined ? undefined : credentials.checkToken(bearer);
    return role && { role };
  }
  const secret = sessionSecret(request.headers.cookie);
  return secret === undefined ? undefined : sessions.find(secret);
}

/** The cookie comes along by itself; this header only from our own page. */
function requireCsrf({ method, headers }: FastifyRequest, principal: Principal | undefined): void {
  if (method === 'GET' || method === 'HEAD' || principal?.session === undefined) return;
  const given = headers[CSRF_HEADER];
  if (typeof given === 'string' && timingSafeEqual(digest(given), digest(principal.session.csrf))) return;
  throw new HttpError(403, 'CSRF_MISSING', `Expected the header ${CSRF_HEADER} with the value from GET /api/session.`);
}
