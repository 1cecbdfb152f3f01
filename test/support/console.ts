/** The console over a camera, a model and a hub that do what a test says. */
import { fileURLToPath } from 'node:url';
import { type Answer, type Frame, type Logger, type SdkError, silentLogger, type VisionLanguageModel } from 'scenebus';
import { stringify } from 'yaml';
import { configChanges } from '#device/app/config-changes.js';
import { type ConfigStore, MemoryConfigStore } from '#device/config/editing/config-store.js';
import type { DeviceConfig, DeviceConfigInput } from '#device/config/schema.js';
import type { Role } from '#device/console/access/roles.js';
import type { SettingChanges } from '#device/console/context.js';
import { DeviceStateFollower } from '#device/console/device-state.js';
import { LogTail } from '#device/console/log-tail.js';
import { MessageLog } from '#device/console/mqtt/message-log.js';
import { Console } from '#device/console/server.js';
import type { AnyDeviceEvent } from '#device/events/events.js';
import { startWatches } from '#device/features/watches/start-watches.js';
import { Journal } from '#device/journal/journal.js';
import { type FakeContext, fakeAnswer, fakeContext, fakeFrame, fakeModel } from './device-fakes.js';

const demoModel = fileURLToPath(new URL('../../examples/demo-model/checkpoint', import.meta.url));

export interface TestConsole extends AsyncDisposable {
  readonly console: Console;
  readonly context: FakeContext;
  readonly journal: Journal;
  /** Of the bus. */
  readonly messages: MessageLog;
  /** Its lines are those that the console shows. */
  readonly log: Logger;
  /** As a program with a token of this role; undefined: nobody. */
  fetch(role: Role | undefined, path: string, init?: RequestInit): Promise<Response>;
  json(role: Role | undefined, path: string, init?: RequestInit): Promise<{ status: number; body: unknown }>;
  /** What a browser has after the one-time link. */
  signIn(): Promise<{ readonly cookie: string; readonly csrf: string }>;
}

/** Answers in two pieces of text. */
export function streamingModel(
  before: () => Promise<void> = async () => {},
  more: Pick<Answer, 'notices'> = {},
): VisionLanguageModel {
  const { model } = fakeModel();
  return {
    ...model,
    info: model.info,
    generate: () => ({
      async *[Symbol.asyncIterator]() {
        await before();
        yield 'a red ';
        yield 'cup';
      },
      collect: async () => ({
        ...fakeAnswer('a red cup'),
        ...more,
        objects: [
          {
            label: 'red cup',
            box: { x1: 0, y1: 0, x2: 1, y2: 1 },
            boxPixels: [0, 0, 64, 48],
            score: 1,
            source: 'text',
          },
        ],
      }),
    }),
  } as unknown as VisionLanguageModel;
}

export async function startConsole(
  input: Partial<DeviceConfigInput> = {},
  options: {
    readonly model?: VisionLanguageModel | SdkError;
    readonly credentialsFile?: string;
    readonly frame?: Frame;
    readonly store?: ConfigStore;
    readonly setupFile?: string;
    readonly checkBroker?: () => Promise<{ readonly roundTripMs: number }>;
    readonly environment?: Readonly<Record<string, string>>;
    /** What becomes of another configuration. */
    readonly reload?: (next: DeviceConfig) => Promise<SettingChanges>;
    /** Keeps pictures in the journal. */
    readonly encodeJpeg?: (frame: Frame) => Promise<Uint8Array>;
  } = {},
): Promise<TestConsole> {
  const context = await fakeContext(options.model ?? streamingModel(), { console: { port: 0 }, ...input } as never);
  const { encodeJpeg } = options;
  const journal = await Journal.open({ file: undefined, limits: { maxAgeMs: 1e12, maxBytes: 2 ** 30 }, encodeJpeg });
  // As the service's hub does before it tells anybody.
  for (const kind of ['frame', 'scene', 'answer', 'watch', 'status', 'problem'] as const)
    context.hub.on(kind, (event) => void journal.record(event as AnyDeviceEvent));
  const settings = { isOn: (_: string, setting: string) => setting !== 'privacy', onChange: () => () => {} };
  const verbs = { handle: () => () => {} };
  const watches = await startWatches({ context, settings, verbs, file: undefined });
  const state = new DeviceStateFollower(context.hub);
  const log = new LogTail((message) => message);
  const messages = new MessageLog(context.config.root);
  const written = {
    version: 1,
    device: 'fake',
    model: { directory: demoModel },
    cameras: [{ id: 'cam', address: 'test:moving' }],
    ...input,
  };
  const store = options.store ?? new MemoryConfigStore(stringify(written), { name: 'the test', folder: '/' });
  const tokens = new Map<Role, string>();
  // The same file, before the console reads it: tokens of every role.
  const file = options.credentialsFile;
  const console = await Console.start({
    device: {
      config: context.config,
      hub: context.hub,
      journal,
      logger: log.tee(context.logger),
      feeds: () => context.feeds,
      model: () => context.model,
      watches: () => watches,
      broker: () => ({ address: 'mqtt://127.0.0.1', state: 'online' }),
      licences: async () => ({ product: [], model: { llama: null, texts: [], duties: [] } }),
      checkBroker: options.checkBroker ?? (async () => ({ roundTripMs: 3 })),
      checkConfig: async () => [],
      setupFile: options.setupFile,
      settings: {
        store,
        environment: options.environment ?? {},
        changesTo: (next) => configChanges(context.config, next),
        reload: options.reload ?? (async (next) => configChanges(context.config, next)),
      },
    },
    state,
    log,
    messages,
    credentialsFile: file,
  });
  for (const feed of context.feeds) {
    feed.latest = options.frame ?? fakeFrame(1, 90);
    await context.hub.emit('setting', { setting: 'privacy', value: false }, { camera: feed.id });
  }
  const self: TestConsole = {
    console,
    context,
    journal,
    messages,
    log: log.tee(silentLogger),
    async fetch(role, path, init = {}) {
      const token = role && (tokens.get(role) ?? (await makeToken(role)));
      const headers = { ...(init.headers as object), ...(token && { authorization: `Bearer ${token}` }) };
      const { signal = AbortSignal.timeout(10_000) } = init;
      return await fetch(console.address + path, { ...init, headers, signal });
    },
    async json(role, path, init) {
      const response = await self.fetch(role, path, init);
      const text = await response.text();
      return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
    },
    async signIn() {
      const token = console.makeLink().split('#token=')[1];
      const response = await fetch(`${console.address}/api/session`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ token }),
      });
      const { csrf } = (await response.json()) as { csrf: string };
      return { cookie: response.headers.get('set-cookie')?.split(';')[0] ?? '', csrf };
    },
    async [Symbol.asyncDispose]() {
      await console[Symbol.asyncDispose]();
      await watches[Symbol.asyncDispose]();
      await journal[Symbol.asyncDispose]();
    },
  };
  let admin: { readonly cookie: string; readonly csrf: string } | undefined;
  const makeToken = async (role: Role): Promise<string> => {
    admin ??= await self.signIn();
    const response = await fetch(`${console.address}/api/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', cookie: admin.cookie, 'x-scenebus-csrf': admin.csrf },
      body: JSON.stringify({ name: role, role }),
    });
    const { secret } = (await response.json()) as { secret: string };
    tokens.set(role, secret);
    return secret;
  };
  return self;
}
