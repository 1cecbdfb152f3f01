/** The API over a model whose engine the test holds in its hand: refusals, limits, clients that leave. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { encodeJpeg, SdkError, silentLogger } from 'scenebus';
import { afterEach, describe, expect, test } from 'vitest';
import { BODY_BYTES, ModelServer } from '#device/openai/server.js';
import { createFakeModel, type FakeModelOptions, plainImage } from '../../../support/model.js';

const stops: (() => PromiseLike<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface Started {
  readonly key?: string;
  readonly allowedHosts?: readonly string[];
  readonly fake?: Partial<FakeModelOptions>;
}

interface ChatAnswer {
  readonly choices: readonly { readonly message: { readonly content: string }; readonly finish_reason: string }[];
  readonly usage?: { readonly completion_tokens: number };
}

async function start({ key, allowedHosts, fake }: Started = {}) {
  const made = await createFakeModel({ writes: 'two cups on the table', ...fake });
  const server = await ModelServer.start({ model: made.model, port: 0, key, allowedHosts, logger: silentLogger });
  stops.push(
    () => made.model[Symbol.asyncDispose](),
    () => server[Symbol.asyncDispose](),
  );
  const post = (body: unknown, headers: Record<string, string> = {}, signal: AbortSignal | null = null) =>
    fetch(`${server.address}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      signal,
    });
  const ask = async (body: unknown) => (await (await post(body)).json()) as ChatAnswer;
  return { ...made, server, post, ask };
}

const text = { model: 'fake', messages: [{ role: 'user' as const, content: 'What is there?' }] };
const picture = async () =>
  `data:image/jpeg;base64,${Buffer.from(await encodeJpeg(plainImage(90))).toString('base64')}`;
const withImages = (...urls: string[]) => ({
  model: 'fake',
  messages: [
    {
      role: 'user' as const,
      content: [
        { type: 'text' as const, text: 'What is there?' },
        ...urls.map((url) => ({ type: 'image_url' as const, image_url: { url } })),
      ],
    },
  ],
});
const refusal = async (response: Response) => {
  const { error } = (await response.json()) as {
    error: { message: string; type: string; param: string; code: string };
  };
  return { status: response.status, ...error };
};

describe('what is refused', () => {
  test.each([
    ['tools', { tools: [{ type: 'function', function: { name: 'f' } }] }, 'tools'],
    ['n = 2', { n: 2 }, 'n'],
    ['a parameter that nobody knows', { frobnicate: 1 }, 'frobnicate'],
    ['an extension that nobody knows', { scenebus: { verfiy: true } }, 'scenebus.verfiy'],
  ])('%s, by name', async (_, more, param) => {
    const { post } = await start();
    expect(await refusal(await post({ ...text, ...more }))).toMatchObject({
      status: 400,
      type: 'invalid_request_error',
      code: 'unsupported_parameter',
      param,
    });
  });

  test('rivals of tokens without the tokens', async () => {
    const { post } = await start();
    expect(await refusal(await post({ ...text, top_logprobs: 3 }))).toMatchObject({
      status: 400,
      param: 'top_logprobs',
    });
  });

  test('a model that is not here, as 404', async () => {
    const { post } = await start();
    expect(await refusal(await post({ ...text, model: 'gpt-5' }))).toMatchObject({
      status: 404,
      code: 'model_not_found',
    });
  });

  test.each([
    ['http://169.254.169.254/latest/meta-data', 'invalid_image_url', /fetches no pictures/],
    ['file:///etc/passwd', 'invalid_image_url', /fetches no pictures/],
    ['front.jpg', 'invalid_image_url', /no data URL/],
    ['data:text/html;base64,PGh0bWw+', 'invalid_image_format', /"text\/html"/],
    ['data:image/jpeg,abc', 'invalid_image_url', /;base64/],
    ['data:image/jpeg;base64,<html>', 'invalid_base64', /base64/],
    ['data:image/jpeg;base64,/9j/ 4AAQ', 'invalid_base64', /base64/],
    ['data:image/jpeg;base64,_9j_4AAQ', 'invalid_base64', /base64/],
    ['data:image/jpeg;base64,/9=j4AAQ', 'invalid_base64', /base64/],
    ['data:image/jpeg;base64,/9j\u01414AAQ', 'invalid_base64', /base64/],
    ['data:image/jpeg;base64,', 'invalid_base64', /base64/],
    [`data:image/png;base64,${Buffer.from('<html></html>').toString('base64')}`, 'ERR_IMAGE_INVALID', /picture/],
  ])('the picture %s', async (url, code, message) => {
    const { post, engine } = await start();
    const answer = await refusal(await post(withImages(url)));
    expect(answer).toMatchObject({ status: 400, code });
    expect(answer.message).toMatch(message);
    expect(engine.forwards).toEqual([]);
  });

  test('1 000 pictures, before one of them is decoded', async () => {
    const { post } = await start();
    const urls = new Array<string>(1_000).fill('data:image/png;base64,AAAA');
    expect(await refusal(await post(withImages(...urls)))).toMatchObject({ status: 400, code: 'too_many_images' });
  });

  test('a body of a gigabyte, by its announced length', async () => {
    const { server } = await start();
    const { port, host } = new URL(server.address);
    const socket = connect(Number(port), '127.0.0.1');
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n{"model":"fake"`,
    );
    const [head] = (await once(socket, 'data')) as [Buffer];
    expect(head.toString()).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  test('a body that grows beyond the bound without saying so', async () => {
    const { server } = await start();
    const { port, host } = new URL(server.address);
    const socket = connect(Number(port), '127.0.0.1');
    const left = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => {}); // of writing to a connection that was cut
    const said = new Promise<string>((resolve) => socket.once('data', (head) => resolve(head.toString())));
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`,
    );
    const piece = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(2 ** 20, 0x41), Buffer.from('\r\n')]);
    let sent = 0;
    // As fast as it is taken, and no faster: what piles up is the server's.
    while (!socket.destroyed && sent < 4 * BODY_BYTES) {
      sent += piece.length;
      if (!socket.write(piece)) await Promise.race([once(socket, 'drain').catch(() => {}), left]);
    }
    expect(await Promise.race([said, left.then(() => 'cut off')])).toMatch(/^HTTP\/1\.1 413 |^cut off$/);
    expect(sent).toBeLessThan(4 * BODY_BYTES);
    socket.destroy();
  });

  test('what is no JSON, or no object', async () => {
    const { post } = await start();
    expect((await refusal(await post('<html>'))).status).toBe(400);
    expect((await refusal(await post('[]'))).code).toBe('invalid_body');
  });
});

describe('who is let in', () => {
  const key = 'a-key-of-enough-characters';

  test('only who has the key, which no answer repeats', async () => {
    const { server } = await start({ key });
    const models = (authorization: string) => fetch(`${server.address}/v1/models`, { headers: { authorization } });
    expect(await (await models(`Bearer ${key}`)).json()).toMatchObject({ data: [{ id: 'fake' }] });
    const error = await refusal(await models('Bearer another'));
    expect(error).toMatchObject({ status: 401, code: 'invalid_api_key' });
    expect(JSON.stringify(error)).not.toContain(key);
    expect((await fetch(`${server.address}/api/tags`)).status).toBe(401);
  });

  test('nobody beyond loopback without one, nor with one that can be guessed', async () => {
    const { model } = await start();
    const beyond = (more: object) =>
      ModelServer.start({ model, host: '0.0.0.0', port: 0, logger: silentLogger, ...more });
    await expect(beyond({})).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
    await expect(beyond({ key: 'short' })).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
  });

  test('no page of another origin, and no name that was made to point here', async () => {
    const { post, server } = await start();
    const foreign = await post(text, { origin: 'https://evil.example' });
    expect(foreign.status).toBe(403);
    expect(foreign.headers.get('access-control-allow-origin')).toBeNull();
    const { port } = new URL(server.address);
    const socket = connect(Number(port), '127.0.0.1');
    socket.write('GET /v1/models HTTP/1.1\r\nhost: evil.example\r\n\r\n');
    const [head] = (await once(socket, 'data')) as [Buffer];
    expect(head.toString()).toMatch(/^HTTP\/1\.1 421 /);
    socket.destroy();
  });
});

describe('under load', () => {
  test('a full queue answers 429 with Retry-After', async () => {
    const { post, engine } = await start({ fake: { parts: { maxWaiting: 1 } } });
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    engine.onForward = () => held;
    const refused: Response[] = [];
    const asks = Array.from({ length: 6 }, async () => {
      const response = await post(text);
      if (response.status !== 200) refused.push(response);
      if (refused.length === 3) release();
    });
    await Promise.all(asks);
    expect(refused.length).toBeGreaterThanOrEqual(3);
    for (const { status, headers } of refused) {
      expect(status).toBe(429);
      expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    }
  });

  test.each([false, true])('a client that leaves stops its generation within a token (stream: %s)', async (stream) => {
    const { post, engine, model } = await start({ fake: { writes: 'on and on '.repeat(20) } });
    const gone = new AbortController();
    let atLeaving = 0;
    let left = () => {};
    const stopped = new Promise<void>((resolve) => (left = resolve));
    engine.onForward = async (call, signal) => {
      if (call < 3) return;
      if (atLeaving === 0) {
        atLeaving = call;
        gone.abort();
      }
      // The engine computes until it is told to stop: that the client has gone must arrive meanwhile.
      await new Promise<void>((resolve) => {
        if (signal?.aborted) resolve();
        else signal?.addEventListener('abort', () => resolve(), { once: true });
      });
      left();
    };
    const answer = async () => (await post({ ...text, stream }, {}, gone.signal)).text();
    await answer().catch(() => {});
    await stopped;
    await expect.poll(() => model.stats().running).toBe(0);
    expect(engine.forwards.length).toBeLessThanOrEqual(atLeaving + 1);
  });

  test('an engine that fails in the middle of a stream ends it with an error and no [DONE]', async () => {
    const { post, engine } = await start();
    engine.onForward = (call) => {
      if (call === 3) throw new SdkError('ERR_ENGINE_FAILED', 'Expected numbers.');
    };
    const body = await (await post({ ...text, stream: true })).text();
    expect(body).toContain('"code":"ERR_ENGINE_FAILED"');
    expect(body).not.toContain('[DONE]');
  });
});

describe('an answer', () => {
  test('says what had no effect, and puts a system message before that of the user where there are pictures', async () => {
    const { ask, engine } = await start();
    const [user] = withImages(await picture()).messages;
    const answer = await ask({
      model: 'fake',
      messages: [{ role: 'system', content: 'Be brief.' }, user!],
      store: true,
    });
    expect(answer).toMatchObject({
      choices: [{ message: { content: 'two cups on the table' }, finish_reason: 'stop' }],
      scenebus: { objects: [], warnings: [expect.stringContaining('store'), expect.stringContaining('system')] },
    });
    expect(engine.encoded).toHaveLength(1);
  });

  test('to a question about a picture in another language than English says so', async () => {
    const { ask } = await start();
    const [user] = withImages(await picture()).messages;
    const pictures = (user as { content: { type: string }[] }).content.filter(({ type }) => type !== 'text');
    const german = { role: 'user', content: [...pictures, { type: 'text', text: 'Wo ist die rote Tasse?' }] };
    expect(await ask({ model: 'fake', messages: [german] })).toMatchObject({
      scenebus: { warnings: [expect.stringContaining('not in English')] },
    });
  });

  test('ends at a stop string, and at its limit with the reason length', async () => {
    const { ask } = await start();
    const stopped = await ask({ ...text, stop: [' on'] });
    expect(stopped.choices[0]).toMatchObject({ message: { content: 'two cups' }, finish_reason: 'stop' });
    const cut = await ask({ ...text, max_completion_tokens: 2 });
    expect(cut.choices[0]?.finish_reason).toBe('length');
    expect(cut.usage?.completion_tokens).toBe(2);
  });
});
