/** `scenebus serve` in a process of its own, and a proxy before a server that does to its answers what a test wants. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

const inRepository = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

export interface ServeProcess extends AsyncDisposable {
  /** `http://127.0.0.1:…`, without a path. */
  readonly origin: string;
}

/** @param args behind `scenebus serve MODEL --port 0` */
export async function startServe(cache: string, ...args: string[]): Promise<ServeProcess> {
  const command = inRepository('dist/device/cli/main.js');
  const model = inRepository('examples/demo-model/checkpoint');
  const child = spawn(process.execPath, [command, 'serve', model, '--int4', '--port', '0', '--cache', cache, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (text: Buffer) => (said += text));
  const origin = await new Promise<string>((resolve, reject) => {
    let output = '';
    child.stdout.on('data', (text: Buffer) => {
      output += text;
      const found = /http:\/\/127\.0\.0\.1:\d+(?=\/v1)/.exec(output);
      if (found !== null) resolve(found[0]);
    });
    child.once('exit', (code) => reject(new Error(`scenebus serve ended with ${code}: ${said}`)));
  });
  return {
    origin,
    [Symbol.asyncDispose]: async () => {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** What is done to one request: answered here, or passed on and spoiled. */
export type Fault =
  | { readonly type: 'pass' }
  /** The connection ends without an answer. */
  | { readonly type: 'reset' }
  /** The server's answer, until so many bytes of it have gone through. */
  | { readonly type: 'cut'; readonly afterBytes: number }
  /** The server's answer, so much later. */
  | { readonly type: 'slow'; readonly byMs: number }
  /** The server's answer, and more behind it. */
  | { readonly type: 'append'; readonly text: string }
  /** Nothing, ever. */
  | { readonly type: 'silence' }
  | {
      readonly type: 'answer';
      readonly status?: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body: string;
    }
  /** An event stream that begins with `first`, has more and more of the same event where there is one, and never ends. */
  | { readonly type: 'endless'; readonly first?: string; readonly event?: string };

export interface FaultProxy extends AsyncDisposable {
  /** Of the API behind it, with `/v1`. */
  readonly url: string;
  /** For the requests to come to `/chat/completions`, one each; then they pass. */
  readonly faults: Fault[];
  /** For those to any other path. */
  readonly otherFaults: Fault[];
  /** Bodies of the requests to `/chat/completions`, parsed. */
  readonly bodies: Record<string, unknown>[];
  readonly headers: IncomingMessage['headers'][];
  /** Answers that the proxy is sending now. */
  readonly open: number;
}

export async function startFaultProxy(origin: string): Promise<FaultProxy> {
  const faults: Fault[] = [];
  const otherFaults: Fault[] = [];
  const bodies: Record<string, unknown>[] = [];
  const headers: IncomingMessage['headers'][] = [];
  let open = 0;
  const server = createServer((incoming, response) => {
    open++;
    response.once('close', () => open--);
    void (async () => {
      const pieces: Buffer[] = [];
      for await (const piece of incoming) pieces.push(piece as Buffer);
      const body = Buffer.concat(pieces);
      const isChat = incoming.url?.endsWith('/chat/completions');
      if (isChat) {
        bodies.push(JSON.parse(body.toString()));
        headers.push(incoming.headers);
      }
      const fault = (isChat ? faults : otherFaults).shift() ?? { type: 'pass' };
      await strike(fault, { origin, incoming, response, body });
    })().catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    faults,
    otherFaults,
    bodies,
    headers,
    get open() {
      return open;
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Struck {
  readonly origin: string;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  readonly body: Buffer;
}

async function strike(fault: Fault, struck: Struck): Promise<void> {
  const { response } = struck;
  switch (fault.type) {
    case 'reset':
      response.destroy();
      return;
    case 'silence':
      return;
    case 'answer':
      response.writeHead(fault.status ?? 200, { 'content-type': 'application/json', ...fault.headers });
      response.end(fault.body);
      return;
    case 'endless': {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (fault.first !== undefined) response.write(fault.first);
      if (fault.event === undefined) return;
      const more = () => {
        while (!response.destroyed && response.write(fault.event));
      };
      response.on('drain', more);
      more();
      return;
    }
    case 'slow':
      await new Promise((resolve) => setTimeout(resolve, fault.byMs));
  }
  const passed = request(struck.origin + struck.incoming.url, {
    method: struck.incoming.method,
    headers: { ...struck.incoming.headers, host: new URL(struck.origin).host },
  });
  response.once('close', () => passed.destroy());
  passed.end(struck.body);
  const [answer] = (await once(passed, 'response')) as [IncomingMessage];
  response.writeHead(answer.statusCode ?? 500, answer.headers);
  let left = fault.type === 'cut' ? fault.afterBytes : Number.POSITIVE_INFINITY;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    response.write(piece.subarray(0, left));
    left -= piece.length;
    if (left <= 0) {
      // What was written has to get there before the connection ends.
      await new Promise((resolve) => response.write('', resolve));
      response.socket?.destroySoon();
      return;
    }
  }
  if (fault.type === 'append') response.write(fault.text);
  response.end();
}
