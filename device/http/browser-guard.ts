/** What keeps foreign pages in a browser on this machine out of a server that listens on loopback. */
import type { FastifyRequest } from 'fastify';
import { HttpError } from './http-error.js';

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]'];

/** All names that a server is reached by: those of loopback and `hosts`. */
export function namesOf(hosts: readonly string[]): ReadonlySet<string> {
  return new Set([...LOOPBACK_NAMES, ...hosts.map((host) => host.toLowerCase())]);
}

/** Whether an interface is reached from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/**
 * A foreign page whose name was made to point here (DNS rebinding) still sends its own name.
 * @param setting where the owner names more hosts, for the advice
 * @throws HttpError 421
 */
export function requireKnownHost(request: FastifyRequest, names: ReadonlySet<string>, setting: string): void {
  const name = hostnameOf(request.headers.host ?? '');
  if (name !== undefined && names.has(name)) return;
  throw new HttpError(
    421,
    'HOST_UNKNOWN',
    `This device is not reached by the name ${JSON.stringify(name ?? '')}. Add the name to ${setting} if it is one of this device.`,
  );
}

/**
 * Browsers name the page that a request comes from; for a WebSocket always.
 * @throws HttpError 403
 */
export function requireOwnOrigin(request: FastifyRequest): void {
  const { origin, host } = request.headers;
  const isWebSocket = request.headers.upgrade !== undefined;
  if (origin === undefined) {
    if (isWebSocket && request.headers.authorization === undefined)
      throw new HttpError(403, 'ORIGIN_MISSING', 'Expected an Origin header, or a token in Authorization.');
    return;
  }
  // By name and port: behind a proxy that ends TLS the scheme is another.
  if (URL.canParse(origin) && new URL(origin).host === host?.toLowerCase()) return;
  throw new HttpError(403, 'ORIGIN_FOREIGN', 'Requests of other pages are refused.');
}

function hostnameOf(host: string): string | undefined {
  return /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/i.exec(host)?.[1]?.toLowerCase();
}
