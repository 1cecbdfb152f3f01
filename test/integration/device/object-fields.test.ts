/**
 * Every way on which objects leave a device: each says where its box came from, how sure that is, and, where verification
 * was asked for, what the model said of the cut-out; what comes from a camera also where it is seen. With the demo model,
 * once writing its boxes and once grounded by attention alone, in a process of its own.
 */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type CameraLens,
  decodeImage,
  formatCameraInfo,
  type LoadModelOptions,
  loadModel,
  type VisionLanguageModel,
} from 'scenebus';
import { type BusClient, connect } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceService } from '#device/app/device-service.js';
import { int4Folder } from '#device/app/int4-cache.js';
import { Listener, startEmbedded } from '../../support/brokers.js';
import { sentEvents } from '../../support/sent-events.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { clip, demoModel, deviceName, lend, makeConfig, startService, topic } from './demo-device.js';

type Verify = boolean | undefined;
type Objects = readonly Readonly<Record<string, unknown>>[];
interface WithObjects {
  readonly objects: Objects;
}

const LENS: CameraLens = {
  width: 640,
  height: 480,
  fx: 500,
  fy: 500,
  cx: 319.5,
  cy: 239.5,
  distortionModel: 'plumb_bob',
  distortion: [0, 0, 0, 0, 0],
};
const HOUR = 3_600;
const photo = join(demoModel, '../evaluation/00000.jpg');
/** In the clip, and in the photo. */
const SEEN = ['red cup', 'blue book', 'green apple', 'white sign', 'yellow lamp'];
const PICTURED = ['green robot', 'black person', 'blue lamp'];

class Bench implements AsyncDisposable {
  readonly stops: (() => PromiseLike<void>)[] = [];
  service!: DeviceService;
  client!: BusClient;
  listener!: Listener;
  /** Something that is seen in a frame, which the device still has. */
  seen!: { readonly label: string; readonly frameId: string };
  /** A question about the photo that gets a box. */
  pictured!: string;
  #signedIn!: Record<string, string>;
  #watches = 0;

  static async start(folder: string, options: LoadModelOptions): Promise<Bench> {
    const bench = new Bench();
    const directory = await makeTemporaryFolder('scenebus-objects-');
    const model = await loadModel(await int4Folder(folder, { cacheDirectory: directory }), options);
    bench.stops.push(() => model[Symbol.asyncDispose]());
    await bench.#serve(model, directory);
    await bench.#signIn();
    await bench.#find(model);
    return bench;
  }

  async #serve(model: VisionLanguageModel, directory: string): Promise<void> {
    const intrinsics = join(directory, 'table.yaml');
    await writeFile(intrinsics, formatCameraInfo(LENS, 'table'));
    const broker = await startEmbedded();
    this.stops.push(() => broker[Symbol.asyncDispose]());
    const mounting = { heightMetres: 1.2, pitchDegrees: 35 };
    const config = await makeConfig({
      broker: { url: broker.url },
      cameras: [{ id: 'table', address: clip, loop: true, intrinsics, mounting }],
      // One description, so that the frames that are asked about stay in memory.
      describe: { minIntervalSeconds: HOUR, maxSilenceSeconds: HOUR, verify: true },
      journal: { enabled: true, directory },
      console: { port: 0 },
      openai: { port: 0 },
    });
    this.listener = await Listener.open(broker, 4);
    this.stops.push(() => this.listener[Symbol.asyncDispose]());
    this.service = await startService(config, { parts: lend(model) });
    this.stops.push(() => this.service.stop());
    this.client = await connect({ url: broker.url });
    this.stops.push(() => this.client.close());
  }

  /** As a browser with the one-time link. */
  async #signIn(): Promise<void> {
    const token = this.service.makeConsoleLink()?.split('#token=')[1];
    const response = await this.#post(`${this.service.consoleAddress}/api/session`, { token }, {});
    const { csrf } = (await response.json()) as { csrf: string };
    this.#signedIn = {
      cookie: response.headers.get('set-cookie')?.split(';')[0] ?? '',
      'x-scenebus-csrf': csrf,
    };
  }

  async #find(model: VisionLanguageModel): Promise<void> {
    const image = await decodeImage(photo);
    for (const label of PICTURED) {
      const question = `Where is the ${label}?`;
      if ((await model.ask(image, question)).objects.length > 0) this.pictured = question;
    }
    for (let tries = 0; tries < 100 && this.seen === undefined; tries++) {
      const { data, frameId } = await this.client.request(deviceName, 'locate', { objects: SEEN });
      const [first] = data.objects;
      if (first !== undefined) this.seen = { label: first.label, frameId };
    }
  }

  get where(): string {
    return `Where is the ${this.seen.label}?`;
  }

  #post(url: string, body: object, headers: Record<string, string>): Promise<Response> {
    const json = { 'content-type': 'application/json', ...headers };
    return fetch(url, { method: 'POST', headers: json, body: JSON.stringify(body) });
  }

  /** A request to the console; posted where there is a body. */
  async console(path: string, body?: object): Promise<string> {
    const url = this.service.consoleAddress + path;
    const response = body ? await this.#post(url, body, this.#signedIn) : await fetch(url, { headers: this.#signedIn });
    return await response.text();
  }

  /** A request of a tool about the photo. */
  async tool(path: string, verify: Verify, body: (picture: { url: string; base64: string }) => object) {
    const base64 = (await readFile(photo)).toString('base64');
    const { data } = (await (await fetch(`${this.service.apiAddress}/v1/models`)).json()) as { data: [{ id: string }] };
    const asked = body({ url: `data:image/jpeg;base64,${base64}`, base64 });
    const extension = verify === undefined ? {} : { scenebus: { verify } };
    const url = this.service.apiAddress + path;
    return await (await this.#post(url, { model: data[0].id, ...asked, ...extension }, {})).text();
  }

  /** Evidence of the first event with boxes: things come and go in the clip. */
  async event(question: string, answerType: 'yes-no' | 'text', verify: Verify): Promise<Objects> {
    for (let tries = 0; tries < 20; tries++) {
      const id = `watch-${this.#watches++}`;
      const asked = { id, question, answerType, intervalSeconds: 0.2 };
      await this.client.watch(deviceName, verify === undefined ? asked : { ...asked, verify });
      const isOf = ({ topic: at, json }: { topic: string; json: { watch?: string } }) =>
        at === topic('camera/table/event') && json.watch === id;
      const { json } = await this.listener.next(isOf);
      await this.client.removeWatch(deviceName, id);
      if (json.evidence.objects.length > 0) return json.evidence.objects;
    }
    return [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.stops.splice(0).reverse()) await stop();
  }
}

const lastOf = (lines: string) => JSON.parse(lines.trim().split('\n').at(-1)!);
/** Of server-sent events with nothing but data. */
const chunksOf = (sent: string) => [...sent.matchAll(/^data: (\{.*\})$/gm)].map(([, json]) => JSON.parse(json!));
const sentOf = (sent: string, type: string) => sentEvents(sent).find((event) => event.type === type)?.data;
const turn = (url: string, text: string) => ({
  role: 'user',
  content: [
    { type: 'image_url', image_url: { url } },
    { type: 'text', text },
  ],
});
const input = (image_url: string, text: string) => [
  {
    role: 'user',
    content: [
      { type: 'input_image', image_url },
      { type: 'input_text', text },
    ],
  },
];
/** The newest of a kind that has objects. */
const newest = (events: readonly { kind: string; body: Record<string, unknown> }[], kind: string): Objects => {
  const found = events.filter((event) => event.kind === kind).map(({ body }) => body.answer ?? body.evidence);
  return (found as (WithObjects | null)[]).find((each) => (each?.objects.length ?? 0) > 0)?.objects ?? [];
};

interface Path {
  readonly name: string;
  /** From a camera that is calibrated: says where each thing is seen. */
  readonly placed?: true;
  /** From a description: only of models that write boxes. */
  readonly described?: true;
  /** Cannot be asked otherwise: the configuration wants descriptions verified. */
  readonly configured?: true;
  readonly objects: (bench: Bench, verify: Verify) => Promise<Objects>;
}

const PATHS: readonly Path[] = [
  {
    name: 'ask on the bus',
    placed: true,
    objects: async ({ client, where, seen: { frameId } }, verify) =>
      (await client.request(deviceName, 'ask', { question: where, frameId, verify })).data.objects,
  },
  {
    name: 'locate on the bus',
    placed: true,
    objects: async ({ client, seen: { label, frameId } }, verify) =>
      (await client.request(deviceName, 'locate', { objects: [label], frameId, verify })).data.objects,
  },
  {
    name: 'describe on the bus',
    placed: true,
    described: true,
    objects: async ({ client, seen: { frameId } }, verify) =>
      (await client.request(deviceName, 'describe', { frameId, verify })).data.objects,
  },
  {
    name: 'the scene topic',
    placed: true,
    described: true,
    configured: true,
    objects: async ({ listener }) =>
      (await listener.next(({ topic: at }) => at === topic('camera/table/scene'))).json.objects,
  },
  {
    name: 'the evidence of a watch that is decided',
    placed: true,
    objects: (bench, verify) => bench.event(`Is there a ${bench.seen.label} on the table?`, 'yes-no', verify),
  },
  {
    name: 'the evidence of a watch in words',
    placed: true,
    objects: (bench, verify) => bench.event(bench.where, 'text', verify),
  },
  {
    name: "the console's API, asking",
    objects: async (bench, verify) => {
      const { seen, where: question } = bench;
      const body = { question, camera: 'table', frame: { id: seen.frameId }, verify };
      return (sentOf(await bench.console('/api/ask', body), 'answer') as unknown as WithObjects).objects;
    },
  },
  {
    name: "the console's API, trying a watch",
    objects: async (bench, verify) => {
      const question = `Is there a ${bench.seen.label} on the table?`;
      const watch = { id: 'trial', question, answerType: 'yes-no', ...(verify === undefined ? {} : { verify }) };
      for (let tries = 0; tries < 50; tries++) {
        const sent = await bench.console('/api/watch-trials', { camera: 'table', watch });
        const { objects } = sentOf(sent, 'result') as unknown as WithObjects;
        if (objects.length > 0) return objects;
      }
      return [];
    },
  },
  {
    name: 'the journal, of an answer',
    objects: async (bench, verify) => {
      const { client, where, seen, service } = bench;
      await client.request(deviceName, 'ask', { question: where, frameId: seen.frameId, verify });
      const { events } = await service.journal.query({ kinds: ['answer'], limit: 1 });
      return newest(events, 'answer');
    },
  },
  {
    name: 'the journal, of an event, as the console shows it',
    objects: async (bench, verify) => {
      await bench.event(`Is there a ${bench.seen.label} on the table?`, 'yes-no', verify);
      return newest(JSON.parse(await bench.console('/api/timeline?kinds=watch')).events, 'watch');
    },
  },
  {
    name: 'what is exported of the journal',
    objects: async (bench, verify) => {
      const { client, where, seen } = bench;
      await client.request(deviceName, 'ask', { question: where, frameId: seen.frameId, verify });
      return lastOf(await bench.console('/api/timeline/export?kinds=answer')).answer.objects;
    },
  },
  {
    name: "OpenAI's chat completions",
    objects: async (bench, verify) => {
      const ask = ({ url }: { url: string }) => ({ messages: [turn(url, bench.pictured)] });
      return JSON.parse(await bench.tool('/v1/chat/completions', verify, ask)).scenebus.objects;
    },
  },
  {
    name: "OpenAI's chat completions as a stream",
    objects: async (bench, verify) => {
      const ask = ({ url }: { url: string }) => ({ stream: true, messages: [turn(url, bench.pictured)] });
      const chunks = chunksOf(await bench.tool('/v1/chat/completions', verify, ask));
      return chunks.find(({ scenebus }) => scenebus !== undefined).scenebus.objects;
    },
  },
  {
    name: "OpenAI's responses",
    objects: async (bench, verify) => {
      const ask = ({ url }: { url: string }) => ({ input: input(url, bench.pictured) });
      return JSON.parse(await bench.tool('/v1/responses', verify, ask)).scenebus.objects;
    },
  },
  {
    name: "OpenAI's responses as a stream",
    objects: async (bench, verify) => {
      const ask = ({ url }: { url: string }) => ({ stream: true, input: input(url, bench.pictured) });
      const chunks = chunksOf(await bench.tool('/v1/responses', verify, ask));
      return chunks.find(({ type }) => type === 'response.completed').response.scenebus.objects;
    },
  },
  {
    name: "Ollama's generate",
    objects: async (bench, verify) => {
      const ask = ({ base64 }: { base64: string }) => ({ prompt: bench.pictured, images: [base64], stream: false });
      return JSON.parse(await bench.tool('/api/generate', verify, ask)).scenebus.objects;
    },
  },
  {
    name: "Ollama's chat as a stream",
    objects: async (bench, verify) => {
      const ask = ({ base64 }: { base64: string }) => ({
        messages: [{ role: 'user', content: bench.pictured, images: [base64] }],
      });
      return lastOf(await bench.tool('/api/chat', verify, ask)).scenebus.objects;
    },
  },
];

/** The demo model, as if nobody had ever trained it to write boxes. */
async function withoutBoxes(): Promise<string> {
  const copy = join(await makeTemporaryFolder('scenebus-no-boxes-'), 'model');
  await cp(demoModel, copy, { recursive: true });
  const file = join(copy, 'scenebus.json');
  const { boxes: _boxes, ...manifest } = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify(manifest));
  return copy;
}

describe.each([
  ['text', async () => demoModel, {}],
  ['attention', withoutBoxes, { isolation: 'process' }],
] as const)('objects by %s', { timeout: 120_000 }, (source, folder, options) => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.start(await folder(), options);
  }, 120_000);
  afterAll(() => bench[Symbol.asyncDispose]());

  const paths = PATHS.filter(({ described }) => source === 'text' || !described);
  test.each(paths.map((path) => [path.name, path] as const))('%s', async (_, { objects, placed, configured }) => {
    // Left out: as the device has it, which verifies descriptions and nothing else.
    const asked: readonly Verify[] = configured ? [undefined] : [true, false, undefined];
    for (const verify of asked) {
      const found = await objects(bench, verify);
      expect(found.length, `verify ${verify}`).toBeGreaterThan(0);
      for (const object of found) {
        const isDescribed = configured || (objects === DESCRIBE && verify === undefined);
        expect(object).toMatchObject({ label: expect.stringMatching(/\S/), source, box: expect.any(Object) });
        expect(Number(object.score) >= 0 && Number(object.score) <= 1).toBe(true);
        if (verify === true || isDescribed) expect(object.verified).toBeTypeOf('boolean');
        else expect(object).not.toHaveProperty('verified');
        if (placed) expect(object).toMatchObject({ bearing: { frame: 'base', azimuthDegrees: expect.any(Number) } });
      }
    }
  });
});

const DESCRIBE = PATHS.find(({ name }) => name === 'describe on the bus')!.objects;
