/** What may be fetched, against servers on loopback that do no harm. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { encodeJpeg, silentLogger } from 'scenebus';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type RemotePictureOptions, RemotePictures } from '#device/openai/remote-pictures.js';
import { ModelServer } from '#device/openai/server.js';
import { createFakeModel, plainImage } from '../../../support/model.js';

const run = promisify(execFile);
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

let jpeg: Uint8Array;
beforeAll(async () => {
  jpeg = await encodeJpeg(plainImage(90));
});

/** Where it listens, and who came. */
async function serve(listener: RequestListener): Promise<{ origin: string; visits: string[] }> {
  const visits: string[] = [];
  const server = createServer((request, response) => {
    visits.push(request.url ?? '');
    listener(request, response);
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, visits };
}

const picture: RequestListener = (_, response) => response.writeHead(200, { 'content-type': 'image/jpeg' }).end(jpeg);
const redirect =
  (location: string): RequestListener =>
  (_, response) =>
    response.writeHead(302, { location }).end();
const byName = (origin: string) => origin.replace('127.0.0.1', 'localhost');

function fetched(options: RemotePictureOptions, address: string, signal = new AbortController().signal) {
  const pictures = new RemotePictures(options);
  return Promise.resolve().then(() => pictures.fetch(pictures.allowed(address, 'url'), 'url', signal));
}

describe('a picture at an address', () => {
  test('comes from an origin that the owner allows, by redirections within the list too', async () => {
    const { origin } = await serve(picture);
    const first = await serve(redirect(`${origin}/b.jpg`));
    expect(await fetched({ origins: [origin] }, `${origin}/a.jpg`)).toEqual(Buffer.from(jpeg));
    expect(await fetched({ origins: [first.origin, origin] }, `${first.origin}/a.jpg`)).toEqual(Buffer.from(jpeg));
  });

  test('reaches the model, and is refused by a server that is not told of its origin', async () => {
    const { origin, visits } = await serve(picture);
    const { model, engine } = await createFakeModel({ writes: 'two cups' });
    const content = [
      { type: 'text', text: 'What is there?' },
      { type: 'image_url', image_url: { url: `${origin}/a.jpg` } },
    ];
    const ask = async (remote: RemotePictures | undefined) => {
      await using server = await ModelServer.start({ model, port: 0, logger: silentLogger, pictures: { remote } });
      const response = await fetch(`${server.address}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'fake', messages: [{ role: 'user', content }] }),
      });
      return response.status;
    };
    expect(await ask(undefined)).toBe(400);
    expect(await ask(new RemotePictures({ origins: ['https://images.example'] }))).toBe(400);
    expect(visits).toEqual([]);
    expect(await ask(new RemotePictures({ origins: [origin] }))).toBe(200);
    expect({ visits, encoded: engine.encoded.length }).toEqual({ visits: ['/a.jpg'], encoded: 1 });
    await model[Symbol.asyncDispose]();
  });

  test.each([
    ['another host', 'https://images.example', 'https://evil.example/a.jpg'],
    ['another port', 'https://images.example', 'https://images.example:8443/a.jpg'],
    ['another scheme', 'https://images.example', 'http://images.example/a.jpg'],
    ['a name that only begins alike', 'https://images.example', 'https://images.example.evil.example/a.jpg'],
    ['a name that only ends alike', 'https://*.images.example', 'https://evilimages.example/a.jpg'],
    ['the name above those that are allowed', 'https://*.images.example', 'https://images.example/a.jpg'],
    ['a user before the host', 'https://images.example', 'https://images.example@evil.example/a.jpg'],
    ['a user and a password', 'https://images.example', 'https://a:b@images.example/a.jpg'],
    ['a number in another form', 'https://images.example', 'http://2130706433/a.jpg'],
    ['no address', 'https://images.example', 'https://'],
  ])('is not looked for: %s', async (_, origin, address) => {
    await expect(fetched({ origins: [origin] }, address)).rejects.toMatchObject({
      statusCode: 400,
      code: 'invalid_image_url',
    });
  });

  test('is not looked for where a name leads to this machine, unless the owner says so', async () => {
    const { origin, visits } = await serve(picture);
    const name = byName(origin);
    await expect(fetched({ origins: [name] }, `${name}/a.jpg`)).rejects.toThrow(/this machine or a private network/);
    expect(visits).toEqual([]);
    expect(await fetched({ origins: [name], privateAddresses: true }, `${name}/a.jpg`)).toHaveLength(jpeg.length);
  });

  test('is not followed to where it may not be', async () => {
    const inner = await serve(picture);
    for (const target of [inner.origin, byName(inner.origin)]) {
      const { origin } = await serve(redirect(`${target}/secret.jpg`));
      await expect(fetched({ origins: [origin] }, `${origin}/a.jpg`)).rejects.toMatchObject({ statusCode: 400 });
      // On the list by its name, which leads to this machine.
      await expect(fetched({ origins: [origin, byName(inner.origin)] }, `${origin}/a.jpg`)).rejects.toMatchObject({
        statusCode: 400,
      });
    }
    expect(inner.visits).toEqual([]);
  });

  test.each<[string, string, RequestListener]>([
    ['an endless circle', 'redirected too often', redirect('/a.jpg')],
    ['a page', 'text/html', (_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>')],
    ['no type', 'says ""', (_, response) => response.writeHead(200).end(jpeg)],
    ['an error', 'answered 503', (_, response) => response.writeHead(503).end()],
    [
      'too much, as it says',
      'larger than 1000',
      (_, response) =>
        response.writeHead(200, { 'content-type': 'image/png', 'content-length': 5_000 }).end(Buffer.alloc(5_000)),
    ],
    [
      'too much, without saying',
      'larger than 1000',
      (_, response) => {
        response.writeHead(200, { 'content-type': 'image/png' });
        for (let i = 0; i < 5; i++) response.write(Buffer.alloc(600));
      },
    ],
    [
      'something compressed',
      'compressed',
      (_, response) => response.writeHead(200, { 'content-type': 'image/png', 'content-encoding': 'gzip' }).end('x'),
    ],
    [
      'half of it',
      'broke off',
      (_, response) => {
        response.writeHead(200, { 'content-type': 'image/png', 'content-length': 500 });
        response.write(Buffer.alloc(100), () => response.destroy());
      },
    ],
  ])('is refused: %s', async (_, words, listener) => {
    const { origin } = await serve(listener);
    await expect(fetched({ origins: [origin], maxBytes: 1_000 }, `${origin}/a.jpg`)).rejects.toMatchObject({
      statusCode: 400,
      message: expect.stringContaining(words),
    });
  });

  test('may be as large as a configuration of so many megabytes says, to the byte', async () => {
    const maxBytes = 1e6;
    const answer =
      (size: number): RequestListener =>
      (_, response) =>
        response.writeHead(200, { 'content-type': 'image/png' }).end(Buffer.alloc(size));
    const [fits, larger] = [await serve(answer(maxBytes)), await serve(answer(maxBytes + 1))];
    expect(await fetched({ origins: [fits.origin], maxBytes }, `${fits.origin}/a.png`)).toHaveLength(maxBytes);
    await expect(fetched({ origins: [larger.origin], maxBytes }, `${larger.origin}/a.png`)).rejects.toThrow('1000000');
  });

  test('is one of eight that are fetched at once; the ninth is told to come back', async () => {
    const held: (() => void)[] = [];
    const { origin, visits } = await serve((request, response) => void held.push(() => picture(request, response)));
    const pictures = new RemotePictures({ origins: [origin] });
    const { signal } = new AbortController();
    const fetchOne = () => pictures.fetch(pictures.allowed(`${origin}/a.jpg`, 'url'), 'url', signal);
    const eight = Array.from({ length: 8 }, fetchOne);
    await expect(fetchOne()).rejects.toMatchObject({ statusCode: 429, code: 'ERR_BUSY' });
    await expect.poll(() => held.length).toBe(8);
    for (const answer of held) answer();
    expect((await Promise.all(eight)).map(({ length }) => length)).toEqual(Array(8).fill(jpeg.length));
    // There is room again.
    const next = fetchOne();
    await expect.poll(() => held.length).toBe(9);
    held[8]!();
    expect(await next).toHaveLength(jpeg.length);
    expect(visits).toHaveLength(9);
  });

  test('comes over https where the certificate is known to Node or to NODE_EXTRA_CA_CERTS, and else not', async () => {
    const tlsFile = (name: string) => fileURLToPath(new URL(`../../../fixtures/tls/${name}`, import.meta.url));
    const [key, cert] = await Promise.all(['server.key', 'server.pem'].map((name) => readFile(tlsFile(name))));
    const server = createHttpsServer({ key, cert }, picture);
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const origin = `https://localhost:${(server.address() as AddressInfo).port}`;
    const module = new URL('../../../../dist/device/openai/remote-pictures.js', import.meta.url);
    const script = `
      import { RemotePictures } from ${JSON.stringify(module.href)};
      const pictures = new RemotePictures({ origins: [${JSON.stringify(origin)}], privateAddresses: true });
      const url = pictures.allowed(${JSON.stringify(`${origin}/a.jpg`)}, 'url');
      const told = (error) => error.code + ': ' + error.message;
      console.log(await pictures.fetch(url, 'url', new AbortController().signal).then(({ length }) => length, told));`;
    const fetchIn = async (env: object) => {
      const args = ['--input-type=module', '-e', script];
      return (await run(process.execPath, args, { env: { ...process.env, ...env } })).stdout.trim();
    };
    expect(await fetchIn({ NODE_EXTRA_CA_CERTS: tlsFile('ca.pem') })).toBe(String(jpeg.length));
    expect(await fetchIn({})).toMatch(/^image_fetch_failed: .*cannot be reached/);
  });

  test('is waited for no longer than the time that is set, and not when its client has gone', async () => {
    const { origin } = await serve(
      (_, response) => void response.writeHead(200, { 'content-type': 'image/png' }).write('x'),
    );
    await expect(fetched({ origins: [origin], timeoutMs: 50 }, `${origin}/a.jpg`)).rejects.toThrow(/within 50 ms/);
    const gone = new AbortController();
    const waiting = fetched({ origins: [origin] }, `${origin}/a.jpg`, gone.signal);
    gone.abort(new DOMException('gone', 'AbortError'));
    await expect(waiting).rejects.toThrow('gone');
  });

  test.each([
    'images.example',
    'ftp://images.example',
    'https://a.example/path',
    'https://*',
    'https://a.*.example',
    'https://u@a.example',
  ])('no origin: %s', (origin) => {
    expect(() => new RemotePictures({ origins: [origin] })).toThrow(
      expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }),
    );
  });
});
