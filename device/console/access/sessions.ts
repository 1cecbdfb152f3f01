/** Browsers that were let in. In memory: a restart of the service asks everybody to come in again. */
import { digest } from '../../http/secrets.js';
import { randomSecret } from './credentials.js';
import type { Principal, Role } from './roles.js';

interface Session {
  readonly role: Role;
  readonly csrf: string;
  usedAtMs: number;
}

const SESSION_COOKIE = 'scenebus_session';
const IDLE_MS = 12 * 3_600_000;
const MAX_SESSIONS = 256;

export class Sessions {
  /** By the hash of their secret: what is in memory opens nothing. The least recently used first. */
  readonly #sessions = new Map<string, Session>();
  readonly #monotonicMs: () => number;

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs;
  }

  /** The secret goes into the browser's cookie. */
  begin(role: Role): { readonly secret: string; readonly principal: Principal } {
    const secret = randomSecret();
    const id = idOf(secret);
    const session = { role, csrf: randomSecret(), usedAtMs: this.#monotonicMs() };
    this.#sessions.set(id, session);
    const oldest = this.#sessions.keys().next().value;
    if (this.#sessions.size > MAX_SESSIONS && oldest !== undefined) this.#sessions.delete(oldest);
    return { secret, principal: { role, session: { id, csrf: session.csrf } } };
  }

  find(secret: string): Principal | undefined {
    const id = idOf(secret);
    const session = this.#sessions.get(id);
    if (session === undefined) return undefined;
    const nowMs = this.#monotonicMs();
    this.#sessions.delete(id);
    if (nowMs - session.usedAtMs > IDLE_MS) return undefined;
    session.usedAtMs = nowMs;
    this.#sessions.set(id, session);
    return { role: session.role, session: { id, csrf: session.csrf } };
  }

  /** For what stays open after its request: false once the session has ended. */
  isOpen({ session }: Principal): boolean {
    return session === undefined || this.#sessions.has(session.id);
  }

  end(id: string): void {
    this.#sessions.delete(id);
  }

  /** A role's password has changed: who came in with the old one comes in again. */
  endAll(role: Role, exceptId?: string): void {
    for (const [id, session] of this.#sessions) if (session.role === role && id !== exceptId) this.#sessions.delete(id);
  }
}

/** Of the header Cookie. */
export function sessionSecret(header: string | undefined): string | undefined {
  const found = /(?:^|;\s*)scenebus_session=([A-Za-z0-9_-]{43})(?:;|$)/.exec(header ?? '');
  return found?.[1];
}

/** The header Set-Cookie; null: the browser forgets it. */
export function sessionCookie(secret: string | null, { isSecure }: { readonly isSecure: boolean }): string {
  const attributes = ['Path=/', 'HttpOnly', 'SameSite=Strict', ...(isSecure ? ['Secure'] : [])];
  return [`${SESSION_COOKIE}=${secret ?? ''}`, ...attributes, ...(secret === null ? ['Max-Age=0'] : [])].join('; ');
}

function idOf(secret: string): string {
  return digest(secret).toString('hex');
}
