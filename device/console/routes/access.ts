/** Coming in, going out, and who may. */

import { HttpError } from '../../http/http-error.js';
import type { Principal, Role } from '../access/roles.js';
import { sessionCookie } from '../access/sessions.js';
import { type Route, route } from '../api/route.js';
import {
  madeTokenSchema,
  newTokenSchema,
  passwordSchema,
  roleParams,
  type SessionInfo,
  sessionSchema,
  signInSchema,
  tokenParams,
  tokensSchema,
} from '../api/schemas.js';
import type { ConsoleServices } from './services.js';

/** Attempts a minute from one address, of all kinds: a password of ten characters outlasts that. */
const ATTEMPTS_PER_MINUTE = 10;

export function accessRoutes({ credentials, sessions, device, isSecure }: ConsoleServices): Route[] {
  const describe = (principal: Principal | undefined): SessionInfo => ({
    role: principal?.role ?? null,
    csrf: principal?.session?.csrf ?? null,
    passwords: credentials.passwordRoles,
    device: device.config.device,
  });
  return [
    route({
      method: 'GET',
      path: '/api/session',
      role: 'public',
      summary: 'Who you are here',
      response: { type: 'json', schema: sessionSchema },
      handle: async ({ principal }) => describe(principal),
    }),
    route({
      method: 'POST',
      path: '/api/session',
      role: 'public',
      summary: 'Sign in with the token of the one-time link, a token, or the password of a role',
      body: signInSchema,
      maxPerMinute: ATTEMPTS_PER_MINUTE,
      response: { type: 'json', schema: sessionSchema },
      handle: async ({ body, reply }) => {
        const role: Role | undefined =
          'token' in body
            ? (credentials.useLink(body.token) ?? credentials.checkToken(body.token))
            : (await credentials.checkPassword(body.role, body.password))
              ? body.role
              : undefined;
        if (role === undefined) throw new HttpError(401, 'CREDENTIALS_WRONG', wrongCredentials(body));
        const { secret, principal } = sessions.begin(role);
        void reply.header('set-cookie', sessionCookie(secret, { isSecure }));
        return describe(principal);
      },
    }),
    route({
      method: 'DELETE',
      path: '/api/session',
      role: 'display',
      summary: 'Sign out',
      response: { type: 'empty' },
      handle: async ({ principal, reply }) => {
        if (principal?.session !== undefined) sessions.end(principal.session.id);
        void reply.header('set-cookie', sessionCookie(null, { isSecure }));
        return undefined;
      },
    }),
    route({
      method: 'PUT',
      path: '/api/passwords/:role',
      role: 'admin',
      summary: 'Set the password of a role; its sessions end',
      params: roleParams,
      body: passwordSchema,
      response: { type: 'empty' },
      handle: async ({ params: { role }, body: { password }, principal }) => {
        if (role === 'admin' && credentials.isAdminPasswordFixed)
          throw new HttpError(
            409,
            'PASSWORD_FIXED',
            'The admin password comes from SCENEBUS_CONSOLE_PASSWORD: change it there.',
          );
        await credentials.setPassword(role, password);
        sessions.endAll(role, principal?.session?.id);
        return undefined;
      },
    }),
    route({
      method: 'GET',
      path: '/api/tokens',
      role: 'admin',
      summary: 'The tokens of programs, without their secrets',
      response: { type: 'json', schema: tokensSchema },
      handle: async () => ({ tokens: credentials.tokens }),
    }),
    route({
      method: 'POST',
      path: '/api/tokens',
      role: 'admin',
      summary: 'Make a token for a program; its secret is shown this once',
      body: newTokenSchema,
      response: { type: 'json', schema: madeTokenSchema },
      handle: async ({ body: { name, role } }) => {
        const { secret, info } = await credentials.addToken(name, role, Date.now());
        return { secret, token: info };
      },
    }),
    route({
      method: 'DELETE',
      path: '/api/tokens/:token',
      role: 'admin',
      summary: 'Revoke a token',
      params: tokenParams,
      response: { type: 'empty' },
      handle: async ({ params: { token } }) => {
        if (!(await credentials.removeToken(token)))
          throw new HttpError(404, 'TOKEN_UNKNOWN', 'There is no such token.');
        return undefined;
      },
    }),
  ];
}

function wrongCredentials(body: object): string {
  return 'token' in body
    ? 'This link or token is not valid: a link works once. Restart the service for a new one, or use a password.'
    : 'The password is wrong.';
}
