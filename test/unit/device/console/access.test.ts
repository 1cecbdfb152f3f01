import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { ROLES } from '#device/console/access/roles.js';
import { Sessions } from '#device/console/access/sessions.js';
import { startConsole, type TestConsole } from '../../../support/console.js';

/** With headers that `fetch` does not let a program choose. */
function raw(address: string, path: string, headers: Record<string, string>, method = 'GET'): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(`${address}${path}`, { method, headers, setHost: false }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.once('error', reject);
    request.end();
  });
}

const json = (body: object) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

describe('roles', () => {
  let served: TestConsole;
  beforeAll(async () => {
    served = await startConsole();
  });
  afterAll(() => served[Symbol.asyncDispose]());

  test('every route declares a role, and these are all routes', () => {
    const list = served.console.routes.map(({ method, path, role }) => `${role} ${method} ${path}`).sort();
    expect(list).toEqual([
      'admin DELETE /api/cameras/:camera/calibration',
      'admin DELETE /api/tokens/:token',
      'admin GET /api/calibration-board',
      'admin GET /api/cameras/:camera/calibration',
      'admin GET /api/config',
      'admin GET /api/diagnostics',
      'admin GET /api/setup',
      'admin GET /api/tokens',
      'admin POST /api/cameras/:camera/calibration/result',
      'admin POST /api/config/preview',
      'admin POST /api/config/undo',
      'admin POST /api/setup/check',
      'admin POST /api/tokens',
      'admin PUT /api/cameras/:camera/calibration',
      'admin PUT /api/config',
      'admin PUT /api/config/secrets/:secret',
      'admin PUT /api/passwords/:role',
      'admin PUT /api/setup',
      'display DELETE /api/session',
      'display GET /api/cameras/:camera/live',
      'display GET /api/cameras/:camera/snapshot',
      'display GET /api/device',
      'display GET /api/events',
      'display GET /api/frames/:frame',
      'display GET /api/health',
      'display GET /api/health/history',
      'display GET /api/licences',
      'display GET /api/state',
      'display GET /api/timeline',
      'display GET /api/watches',
      'display GET /api/watches/:watch/history',
      'operator DELETE /api/watches/:watch',
      'operator GET /api/connections',
      'operator GET /api/doctor',
      'operator GET /api/log',
      'operator GET /api/mqtt',
      'operator GET /api/mqtt/messages',
      'operator GET /api/timeline/data-set',
      'operator GET /api/timeline/export',
      'operator PATCH /api/watches/:watch',
      'operator POST /api/answer-schemas',
      'operator POST /api/ask',
      'operator POST /api/heat-maps',
      'operator POST /api/pictures',
      'operator POST /api/watch-trials',
      'operator POST /api/watches',
      'public GET /',
      'public GET /*',
      'public GET /api/openapi.json',
      'public GET /api/session',
      'public POST /api/session',
    ]);
  });

  test.each([undefined, ...ROLES])('as %s every route is open or closed as it declares', async (role) => {
    for (const { method, path, role: required } of served.console.routes) {
      // Asked by its own test: it goes on for ever.
      if (path === '/api/events' && role !== undefined) continue;
      const address = path.replace(':role', 'constructor').replace(/:\w+/, 'nothing').replace('*', 'nothing');
      const { status } = await served.fetch(role, address, { method });
      const isAllowed = required === 'public' || (role !== undefined && ROLES.indexOf(role) >= ROLES.indexOf(required));
      const refusal = role === undefined ? 401 : 403;
      if (isAllowed && path === '/api/session' && method === 'POST') expect([400, 415, 429]).toContain(status);
      else if (isAllowed) expect([401, 403], `${method} ${path}`).not.toContain(status);
      else expect(status, `${method} ${path}`).toBe(refusal);
      expect(status, `${method} ${path}`).not.toBe(500);
    }
  });

  test.each(['constructor', '__proto__', '..', '%2e%2e', '%2e%2e%2f%2e%2e%2fetc%2fpasswd', 'a%00b', '%', 'admin%2f..'])(
    'the id %s opens nothing',
    async (id) => {
      for (const path of [
        `/api/cameras/${id}/snapshot`,
        `/api/cameras/${id}/live`,
        `/api/frames/${id}`,
        `/api/tokens/${id}`,
        `/api/watches/${id}/history`,
      ]) {
        expect([400, 401, 404], path).toContain((await served.fetch(undefined, path)).status);
        expect([400, 404, 426], path).toContain((await served.fetch('admin', path)).status);
        expect([400, 403, 404], path).toContain((await served.fetch('display', path, { method: 'DELETE' })).status);
      }
    },
  );

  test('a path in another spelling is the same route or none', async () => {
    for (const path of [
      '/API/tokens',
      '/api//tokens',
      '/api/tokens/',
      '/api/./tokens',
      '/%61pi/tokens',
      '/api/tokens?x=.css',
    ])
      expect([400, 401, 404], path).toContain(await raw(served.console.address, path, { host: '127.0.0.1' }));
  });
});

describe('coming in', () => {
  let served: TestConsole;
  beforeEach(async () => {
    served = await startConsole();
  });
  afterEach(() => served[Symbol.asyncDispose]());

  test('a link works once, and its cookie is out of reach of scripts and other sites', async () => {
    const link = served.console.makeLink();
    const token = new URL(link).hash.slice('#token='.length);
    const first = await served.fetch(undefined, '/api/session', json({ token }));
    expect(first.status).toBe(200);
    expect(first.headers.get('set-cookie')).toMatch(/^scenebus_session=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/);
    expect((await served.fetch(undefined, '/api/session', json({ token }))).status).toBe(401);
  });

  test('a wrong password is refused, the right one is not, and guessing ends', async () => {
    const body = JSON.stringify({ password: 'correct horse' });
    const headers = { 'content-type': 'application/json' };
    const set = await served.fetch('admin', '/api/passwords/operator', { method: 'PUT', headers, body });
    expect(set.status).toBe(204);
    const attempt = (password: string) => served.json(undefined, '/api/session', json({ role: 'operator', password }));
    expect(await attempt('wrong')).toMatchObject({ status: 401, body: { error: { code: 'CREDENTIALS_WRONG' } } });
    expect(await attempt('correct horse')).toMatchObject({ status: 200, body: { role: 'operator' } });
    for (let i = 0; i < 10; i++) await attempt('wrong');
    expect((await attempt('correct horse')).status).toBe(429);
  });

  test('a role without a password has none that fits', async () => {
    const { status } = await served.json(undefined, '/api/session', json({ role: 'admin', password: 'undefined' }));
    expect(status).toBe(401);
  });

  test('a session changes things only with its CSRF token', async () => {
    const { cookie, csrf } = await served.signIn();
    const { address } = served.console;
    const host = new URL(address).host;
    expect(await raw(address, '/api/state', { host, cookie })).toBe(200);
    expect(await raw(address, '/api/session', { host, cookie }, 'DELETE')).toBe(403);
    expect(await raw(address, '/api/session', { host, cookie, 'x-scenebus-csrf': 'wrong' }, 'DELETE')).toBe(403);
    expect(await raw(address, '/api/session', { host, cookie, 'x-scenebus-csrf': csrf }, 'DELETE')).toBe(204);
    expect(await raw(address, '/api/state', { host, cookie })).toBe(401);
  });

  test('an address that asks too often is told so, by the limit of the route and of all together', async () => {
    const statuses: number[] = [];
    for (let i = 0; i < 31; i++) {
      const response = await served.fetch('operator', '/api/timeline/export');
      statuses.push(response.status);
      await response.arrayBuffer();
    }
    expect(statuses.slice(0, 30)).toEqual(Array(30).fill(200));
    expect(statuses[30]).toBe(429);
    const limited = await served.fetch('display', '/api/state');
    expect(Number(limited.headers.get('x-ratelimit-limit'))).toBe(1_200);
    expect(Number(limited.headers.get('x-ratelimit-remaining'))).toBeLessThan(1_200);
  });

  test('foreign hosts and pages are refused before anything else', async () => {
    const { address } = served.console;
    const host = new URL(address).host;
    expect(await raw(address, '/', { host: 'evil.example' })).toBe(421);
    expect(await raw(address, '/api/session', { host: 'localhost' })).toBe(200);
    expect(await raw(address, '/api/session', { host, origin: address })).toBe(200);
    expect(await raw(address, '/api/session', { host, origin: 'http://evil.example' })).toBe(403);
    expect(await raw(address, '/api/session', { host, origin: 'null' })).toBe(403);
  });

  test('a name in the configuration is known', async () => {
    await using named = await startConsole({ console: { port: 0, hosts: ['Robot.local'] } });
    expect(await raw(named.console.address, '/api/session', { host: 'robot.local:1' })).toBe(200);
  });

  test('a WebSocket is refused without a session, to foreign pages and under foreign names', async () => {
    const { cookie } = await served.signIn();
    const url = `${served.console.address.replace('http', 'ws')}/api/cameras/cam/live`;
    const origin = served.console.address;
    const open = (headers: Record<string, string>) =>
      new Promise<number | 'open'>((resolve) => {
        const socket = new WebSocket(url, { headers });
        socket.once('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0));
        socket.once('error', () => {});
        socket.once('open', () => {
          socket.close();
          resolve('open');
        });
      });
    expect(await open({ cookie, origin })).toBe('open');
    expect(await open({ origin })).toBe(401);
    expect(await open({ cookie, origin: 'http://evil.example' })).toBe(403);
    expect(await open({ cookie })).toBe(403);
    expect(await open({ cookie, origin, host: 'evil.example' })).toBe(421);
  });

  test('answers carry the headers that keep a page to itself', async () => {
    const response = await served.fetch(undefined, '/api/session');
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'; script-src 'self'");
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('cache-control')).toBe('no-store');
  });
});

describe('what is kept', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'scenebus-console-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  test('passwords and tokens outlive the process, their plain text is nowhere', async () => {
    const credentialsFile = join(folder, 'deep', 'console.json');
    let secret: string;
    {
      await using served = await startConsole({}, { credentialsFile });
      const headers = { 'content-type': 'application/json' };
      const body = JSON.stringify({ password: 'correct horse' });
      await served.fetch('admin', '/api/passwords/admin', { method: 'PUT', headers, body });
      const made = await served.json('admin', '/api/tokens', json({ name: 'robot', role: 'display' }));
      secret = (made.body as { secret: string }).secret;
    }
    const text = await readFile(credentialsFile, 'utf8');
    expect(text).not.toContain('correct horse');
    expect(text).not.toContain(secret);
    expect((await stat(credentialsFile)).mode & 0o777).toBe(0o600);
    await using again = await startConsole({}, { credentialsFile });
    expect(again.console.hasPassword).toBe(true);
    const headers = { authorization: `Bearer ${secret}` };
    expect((await again.fetch(undefined, '/api/state', { headers })).status).toBe(200);
    expect((await again.fetch(undefined, '/api/tokens', { headers })).status).toBe(403);
  });

  test('a session ends after twelve idle hours', () => {
    let nowMs = 0;
    const sessions = new Sessions(() => nowMs);
    const { secret } = sessions.begin('display');
    nowMs = 11 * 3_600_000;
    expect(sessions.find(secret)?.role).toBe('display');
    nowMs += 12 * 3_600_000 + 1;
    expect(sessions.find(secret)).toBeUndefined();
  });
});

test.each([
  [{ host: '0.0.0.0' }, /TLS.*and a password/],
  [{ host: '::' }, /needs TLS/],
])('%o is refused, with what to do', async (settings, message) => {
  await expect(startConsole({ console: { port: 0, ...settings } })).rejects.toMatchObject({
    code: 'ERR_CONFIG_INVALID',
    message: expect.stringMatching(message),
  });
});
