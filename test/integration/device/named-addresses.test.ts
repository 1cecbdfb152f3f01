/** Server-side request forgery: whatever address a browser names in whatever field, the device does not go there. */

import { writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { openCamera } from 'scenebus';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DeviceService } from '#device/app/device-service.js';
import { ConfigFileStore } from '#device/config/editing/config-store.js';
import { loadConfig } from '#device/config/load.js';
import { fakeModel } from '../../support/device-fakes.js';
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

beforeAll(async () => {
  port = await trap.open();
  folder = await makeTemporaryFolder('scenebus-addresses-');
  file = join(folder, 'config.yaml');
  await writeFile(file, configText('[]'));
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
  const { model } = fakeModel();
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
  const cookie = entered.headers.get('set-cookie')!.split(';')[0]!;
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
const WELL_KNOWN: Readonly<Record<string, string>> = { camera: 'cam', id: 'cam-000001', run: 'x' };

/** Everything that a schema describes, once with every text as it should be and then with the address in each place. */
function* filled(schema: JsonSchema, url: string): Generator<unknown> {
  let places = 0;
  const build = (at: JsonSchema, wanted: number | 'all', name = ''): unknown => {
    const choice = at.anyOf ?? at.oneOf;
    if (choice) return build(choice.find(({ type }) => type !== 'null') ?? choice[0]!, wanted, name);
    const isHere = () => {
      const place = places++;
      return wanted === 'all' || wanted === place;
    };
    if (at.enum !== undefined || at.const !== undefined) return isHere() ? url : (at.const ?? at.enum![0]);
    if (at.type === 'object' || at.properties)
      return at.properties === undefined || Object.keys(at.properties).length === 0
        ? isHere()
          ? { $ref: url, $id: url, $schema: url, url, properties: { x: { $ref: url } } }
          : { type: 'string' }
        : Object.fromEntries(Object.entries(at.properties).map(([key, each]) => [key, build(each, wanted, key)]));
    if (at.type === 'array') {
      const items = at.prefixItems ?? Array.from({ length: Math.max(1, at.minItems ?? 1) }, () => at.items ?? {});
      return items.map((each) => build(each, wanted, name));
    }
    if (at.type === 'string' || at.type === undefined) return isHere() ? url : (WELL_KNOWN[name] ?? 'x');
    if (at.type === 'boolean') return true;
    return Math.max(1, at.minimum ?? 1);
  };
  build(schema, -1);
  const count = places;
  for (const wanted of ['all', ...Array.from({ length: count }, (_, index) => index)] as const) {
    places = 0;
    yield build(schema, wanted);
  }
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

test('no field of any route makes the device connect to the address in it', async () => {
  const document = (await (await fetch(`${address}/api/openapi.json`)).json()) as {
    paths: Record<string, Record<string, Operation>>;
  };
  let fields = 0;
  for (const url of urls())
    for (const [path, operations] of Object.entries(document.paths))
      for (const [verb, { parameters, requestBody }] of Object.entries(operations)) {
        const method = verb.toUpperCase();
        // Ends our own session, or takes no input and looks at the whole machine.
        if (path === '/api/session' || path === '/api/doctor') continue;
        const known = path.replace(/\{(\w+)\}/g, (_, name: string) => WELL_KNOWN[name] ?? 'x');
        const named = path.replace(/\{\w+\}/g, encodeURIComponent(url));
        if (named !== path) await send(method, named);
        const query = parameters.filter((each) => each.in === 'query').map(({ name }) => name);
        for (const name of query) await send(method, `${known}?${name}=${encodeURIComponent(url)}`);
        fields += query.length;
        const content = requestBody?.content ?? {};
        const json = content['application/json'];
        for (const body of json === undefined ? [] : filled(json.schema, url)) {
          await send(method, known, JSON.stringify(body));
          fields += 1;
        }
        const svg = `<svg xmlns="http://www.w3.org/2000/svg"><image href="${url}" width="9" height="9"/></svg>`;
        for (const type of Object.keys(content).filter((each) => each.startsWith('image/')))
          await send(method, known, Buffer.from(svg), type);
      }
  expect(fields).toBeGreaterThan(100);
  expect([trap.connections, trap.heard]).toEqual([0, []]);
}, 120_000);

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

  // That there is somebody to hear it: the same address, once the file lets the page name its host.
  await service.stop();
  await writeFile(file, configText('[127.0.0.1]'));
  await start();
  expect(await save(['cameras', 0, 'address'], urls()[0])).toBe(200);
  await expect.poll(() => trap.connections, { timeout: 30_000 }).toBeGreaterThan(0);
}, 120_000);
