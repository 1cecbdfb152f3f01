/** Server-side request forgery: whatever address a browser names in whatever field, the device does not go there. */

import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Frame, openCamera, type VisionLanguageModel } from 'scenebus';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { DeviceService } from '#device/app/device-service.js';
import { ConfigFileStore } from '#device/config/editing/config-store.js';
import { loadConfig } from '#device/config/load.js';
import { fakeModel } from '../../support/device-fakes.js';
import { sentEvents } from '../../support/sent-events.js';
import { sendAsStranger } from '../../support/strangers.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { demoModel } from './demo-device.js';

interface JsonSchema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly prefixItems?: readonly JsonSchema[];
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly required?: readonly string[];
  readonly minItems?: number;
  readonly minimum?: number;
}
interface Operation {
  readonly parameters: readonly { readonly name: string; readonly in: 'path' | 'query'; readonly schema: JsonSchema }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: JsonSchema }>> };
}

/** Counts who connects, whatever they speak, and lets nobody in. */
class Trap implements AsyncDisposable {
  readonly heard: string[] = [];
  readonly #server: Server;

  constructor() {
    this.#server = createServer((socket: Socket) => {
      socket.once('data', (data) => this.heard.push(data.toString('latin1').slice(0, 80)));
      socket.on('error', () => {});
      this.connections += 1;
      socket.setTimeout(200, () => socket.destroy());
    });
  }

  connections = 0;

  async open(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return (this.#server.address() as { port: number }).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const trap = new Trap();
let port: number;
let folder: string;
let file: string;
let service: DeviceService;
let address: string;
let token: string;
let cookie: string;

beforeAll(async () => {
  port = await trap.open();
  folder = await makeTemporaryFolder('scenebus-addresses-');
  file = join(folder, 'config.yaml');
  await writeFile(file, configText('[localhost]'));
  await start();
});
afterAll(async () => {
  await service?.stop();
  await trap[Symbol.asyncDispose]();
});

function configText(networkHosts: string): string {
  return `version: 1
device: bench
model: { directory: ${demoModel} }
cameras: [{ id: cam, address: test:moving, describe: false }]
console: { port: 0, networkHosts: ${networkHosts} }
journal: { directory: journal }
`;
}

async function start(): Promise<void> {
  const { model: plain } = fakeModel();
  const heatMaps = [{ label: 'x', png: Buffer.from('x'), presence: 0.5 }];
  const model = {
    ...plain,
    info: { ...plain.info, prompts: { locate: 'Where is the {label}?' } },
    ask: async (frame: Frame, question: string) => ({ ...(await plain.ask(frame, question)), heatMaps }),
  } as unknown as VisionLanguageModel;
  service = await DeviceService.start(await loadConfig(file, {}), {
    parts: { openCamera, loadModel: async () => model },
    configSource: { store: new ConfigFileStore(file), environment: {} },
  });
  address = service.consoleAddress!;
  const link = new URL(service.makeConsoleLink()!).hash.replace('#token=', '');
  const entered = await fetch(`${address}/api/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token: link }),
  });
  const { csrf } = (await entered.json()) as { csrf: string };
  cookie = entered.headers.get('set-cookie')!.split(';')[0]!;
  const made = await fetch(`${address}/api/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-scenebus-csrf': csrf, cookie },
    body: JSON.stringify({ name: 'named', role: 'admin' }),
  });
  token = ((await made.json()) as { secret: string }).secret;
}

const SCHEMES = ['http', 'rtsp', 'mqtt'] as const;
const urls = () => SCHEMES.map((scheme) => `${scheme}://127.0.0.1:${port}/x`);

/** What passes for each kind of field of ours, so that a wrong one beside it is not what refuses the request. */
const known: Record<string, string> = {
  camera: 'cam',
  cameras: 'cam',
  watch: 'kept',
  role: 'operator',
  answerType: 'text',
  token: 'x',
  password: 'correct horse battery',
  from: '08:00',
  to: '20:00',
};
/** Fields that are refused without another one beside them. */
const COMPANIONS: Readonly<Record<string, () => object>> = {
  choices: () => ({ answerType: 'choice' }),
  turns: () => ({ frame: { id: known.frame } }),
};
interface Filled {
  readonly asItShouldBe: unknown;
  /** The same with the address in one place, once for each place that takes a text. */
  readonly withAddress: readonly unknown[];
}

function fill(schema: JsonSchema, url: string, name = ''): Filled {
  const choice = schema.anyOf ?? schema.oneOf;
  if (choice) {
    const each = choice.filter(({ type }) => type !== 'null').map((one) => fill(one, url, name));
    return {
      asItShouldBe: each[0]?.asItShouldBe,
      withAddress: each.flatMap(({ withAddress }) => withAddress),
    };
  }
  const fixed = schema.const ?? schema.enum?.[0];
  if (fixed !== undefined)
    return { asItShouldBe: schema.enum?.includes(known[name]) ? known[name] : fixed, withAddress: [url] };
  if (schema.properties && Object.keys(schema.properties).length > 0) {
    const parts = Object.entries(schema.properties).map(([key, each]) => [key, fill(each, url, key)] as const);
    const required = parts.filter(([key]) => schema.required?.includes(key));
    const whole = Object.fromEntries(required.map(([key, { asItShouldBe }]) => [key, asItShouldBe]));
    return {
      asItShouldBe: whole,
      withAddress: parts.flatMap(([key, { withAddress }]) =>
        withAddress.map((value) => ({ ...whole, ...COMPANIONS[key]?.(), [key]: value })),
      ),
    };
  }
  if (schema.type === 'array') {
    const items =
      schema.prefixItems ?? Array.from({ length: Math.max(1, schema.minItems ?? 1) }, () => schema.items ?? {});
    const each = items.map((item) => fill(item, url, name));
    const whole = each.map(({ asItShouldBe }) => asItShouldBe);
    return {
      asItShouldBe: whole,
      withAddress: each.flatMap(({ withAddress }, index) => withAddress.map((value) => whole.with(index, value))),
    };
  }
  if (schema.type === 'string') return { asItShouldBe: known[name] ?? 'x', withAddress: [url] };
  if (schema.type === 'boolean') return { asItShouldBe: true, withAddress: [] };
  if (schema.type === 'number' || schema.type === 'integer')
    return { asItShouldBe: Math.max(1, schema.minimum ?? 1), withAddress: [] };
  // Anything: a schema, a value.
  const references = { $ref: url, $id: url, $schema: url, url, properties: { x: { $ref: url } } };
  return {
    asItShouldBe: { type: 'string' },
    withAddress: [url, { $ref: url }, { $id: url, type: 'string' }, references],
  };
}

async function send(method: string, path: string, body?: string | Uint8Array, type = 'application/json') {
  const headers = {
    authorization: `Bearer ${token}`,
    referer: urls()[0]!,
    'x-forwarded-host': `127.0.0.1:${port}`,
    ...(body !== undefined && { 'content-type': type }),
  };
  return await sendAsStranger(address, method, path, { headers, ...(body !== undefined && { body }) });
}
const post = (path: string, body: object) => send('POST', path, JSON.stringify(body));

test('no field of any route makes the device connect to the address in it', async () => {
  const document = (await (await fetch(`${address}/api/openapi.json`)).json()) as {
    paths: Record<string, Record<string, Operation>>;
  };
  const watch = { question: 'x', answerType: 'text', enabled: false };
  expect(await post('/api/watches', { id: known.watch, ...watch })).toBe(200);
  known.frame = await askedFrame();
  let fields = 0;
  /** Where the address was not refused for its form, but came to whoever works with it. */
  const taken = new Set<string>();
  for (const url of urls())
    for (const [path, operations] of Object.entries(document.paths))
      for (const [verb, { parameters, requestBody }] of Object.entries(operations)) {
        const method = verb.toUpperCase();
        const route = `${method} ${path}`;
        // Ends our own session, or takes no input and looks at the whole machine.
        if (route === 'DELETE /api/session' || path === '/api/doctor') continue;
        const note = (status: number) => {
          fields += 1;
          if (status < 300) taken.add(route);
        };
        const right = path.replace(/\{(\w+)\}/g, (_, name: string) => known[name] ?? 'x');
        const named = path.replace(/\{\w+\}/g, encodeURIComponent(url));
        if (named !== path) await send(method, named);
        for (const { name } of parameters.filter((each) => each.in === 'query'))
          note(await send(method, `${right}?${name}=${encodeURIComponent(url)}`));
        const content = requestBody?.content ?? {};
        const json = content['application/json'];
        for (const body of json === undefined ? [] : fill(json.schema, url).withAddress) {
          // The one of before: another watch of the same name would be refused.
          if (route === 'POST /api/watches') await send('DELETE', '/api/watches/x');
          note(await send(method, right, JSON.stringify(body)));
        }
        const svg = `<svg xmlns="http://www.w3.org/2000/svg"><image href="${url}" width="9" height="9"/></svg>`;
        for (const type of Object.keys(content).filter((each) => each.startsWith('image/')))
          await send(method, right, Buffer.from(svg), type);
      }
  expect(fields).toBeGreaterThan(150);
  expect([...taken].sort()).toEqual([
    'GET /api/timeline',
    'GET /api/timeline/data-set',
    'GET /api/timeline/export',
    'PATCH /api/watches/{watch}',
    'POST /api/answer-schemas',
    'POST /api/ask',
    'POST /api/heat-maps',
    'POST /api/tokens',
    'POST /api/watch-trials',
    'POST /api/watches',
    'PUT /api/passwords/{role}',
  ]);
  expect([trap.connections, trap.heard]).toEqual([0, []]);
}, 120_000);

/** A frame that further questions may be about. */
async function askedFrame(): Promise<string> {
  const response = await fetch(`${address}/api/ask`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ question: 'x' }),
  });
  const [frame] = sentEvents(await response.text());
  return (frame!.data as { frame: { id: string } }).frame.id;
}

test('nor does a message of a page that looks at a camera', async () => {
  const open = (path: string, protocols: string[] = []) =>
    new WebSocket(`${address.replace('http', 'ws')}${path}`, protocols, { headers: { cookie, origin: address } });
  const socket = open('/api/cameras/cam/live');
  let pictures = 0;
  socket.on('message', () => {
    pictures += 1;
  });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  for (const url of urls())
    for (const message of [
      url,
      `next ${url}`,
      `next 3 ${url}`,
      JSON.stringify({ url }),
      `"${url}"`,
      Buffer.from(url),
    ]) {
      const before = pictures;
      socket.send(message);
      // That it was read: an answer of any kind, and a picture for what asks for one.
      await expect.poll(() => pictures, { timeout: 20_000 }).toBeGreaterThan(before);
    }
  expect(socket.readyState).toBe(WebSocket.OPEN);
  socket.close();
  for (const url of urls()) {
    const refused = open(`/api/cameras/${encodeURIComponent(url)}/live?url=${encodeURIComponent(url)}`);
    const [code] = (await once(refused, 'close')) as [number];
    expect(code).toBe(4404);
  }
  expect([trap.connections, trap.heard]).toEqual([0, []]);
}, 60_000);

interface Overview {
  readonly revision: string;
  readonly schema: JsonSchema;
  readonly values: unknown;
}
const overview = async () =>
  (await (await fetch(`${address}/api/config`, { headers: { authorization: `Bearer ${token}` } })).json()) as Overview;

/** Every setting that takes a text, in the first of each list. */
function textSettings(schema: JsonSchema, path: readonly (string | number)[] = []): (string | number)[][] {
  const choice = schema.anyOf ?? schema.oneOf;
  if (choice) return choice.flatMap((each) => textSettings(each, path));
  if (schema.properties)
    return Object.entries(schema.properties).flatMap(([name, each]) => textSettings(each, [...path, name]));
  if (schema.type === 'array') return schema.items ? textSettings(schema.items, [...path, 0]) : [];
  return schema.type === 'string' ? [[...path]] : [];
}

test('no setting that is saved on the page does, until the owner of the file has named the host', async () => {
  const { schema } = await overview();
  const settings = textSettings(schema);
  expect(settings.map((path) => path.join('.'))).toEqual(expect.arrayContaining(['cameras.0.address', 'broker.url']));
  const save = async (path: readonly (string | number)[], value: unknown) => {
    const { revision } = await overview();
    return await send('PUT', '/api/config', JSON.stringify({ revision, changes: [{ path, value }] }));
  };
  // What is no address is saved, so that it was not the rest of the file that refused the others.
  expect(await save(['describe', 'prompt'], urls()[0])).toBe(200);
  for (const url of urls()) for (const path of settings) await save(path, url);
  expect([trap.connections, trap.heard]).toEqual([0, []]);

  // Of a host that the file names, in every spelling that one program reads as it and another as the trap.
  for (const disguised of disguises()) {
    await save(['cameras', 0, 'address'], disguised);
    await save(['broker', 'url'], disguised.replace(/^http/, 'ws'));
  }
  await service.stop();
  await start();
  expect([trap.connections, trap.heard]).toEqual([0, []]);

  // That there is somebody to hear it: the same address, once the file lets the page name its host.
  await service.stop();
  await writeFile(file, configText('[127.0.0.1]'));
  await start();
  expect(await save(['cameras', 0, 'address'], `http://127.0.0.1:${port}/named`)).toBe(200);
  await expect.poll(() => trap.heard, { timeout: 30_000 }).toContainEqual(expect.stringContaining('/named'));
  // What came late came from none of the others either.
  expect(trap.heard.filter((heard) => !heard.includes('/named'))).toEqual([]);
}, 120_000);

/** The trap listens at 127.0.0.1 and nowhere else. */
function disguises(): string[] {
  return [
    `http://localhost@127.0.0.1:${port}/`,
    `http://localhost:80@127.0.0.1:${port}/`,
    `http://localhost:80\\@127.0.0.1:${port}/`,
    `http://localhost\\@127.0.0.1:${port}/`,
    `http://localhost:80#@127.0.0.1:${port}/`,
    `http://localhost:80?@127.0.0.1:${port}/`,
    `http://localhost:80/@127.0.0.1:${port}/`,
    `http://localhost:80;@127.0.0.1:${port}/`,
    `http://localhost%00@127.0.0.1:${port}/`,
    `http://localhost%2f@127.0.0.1:${port}/`,
    `http://127.1:${port}/`,
    `http://2130706433:${port}/`,
    `http://0x7f000001:${port}/`,
    `http://[::ffff:127.0.0.1]:${port}/`,
    `http:127.0.0.1:${port}/`,
    `http:\\\\127.0.0.1:${port}/`,
    `http:///127.0.0.1:${port}/`,
    ` http://127.0.0.1:${port}/`,
    `h\nttp://127.0.0.1:${port}/`,
    `rtsp://localhost\\@127.0.0.1:${port}/`,
    `rtsp:127.0.0.1:${port}`,
    `tcp://127.0.0.1:${port}`,
    `file://127.0.0.1:${port}/x`,
    `concat:http://127.0.0.1:${port}/|x`,
  ];
}
