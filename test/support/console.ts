/** The console over a camera, a model and a hub that do what a test says. */
import type { Frame, SdkError, VisionLanguageModel } from 'scenebus';
import type { DeviceConfigInput } from '#device/config/schema.js';
import type { Role } from '#device/console/access/roles.js';
import { DeviceStateFollower } from '#device/console/device-state.js';
import { LogTail } from '#device/console/log-tail.js';
import { MessageLog } from '#device/console/mqtt/message-log.js';
import { Console } from '#device/console/server.js';
import type { AnyDeviceEvent } from '#device/events/events.js';
import { Journal } from '#device/journal/journal.js';
import { type FakeContext, fakeAnswer, fakeContext, fakeFrame, fakeModel } from './device-fakes.js';

export interface TestConsole extends AsyncDisposable {
  readonly console: Console;
  readonly context: FakeContext;
  readonly journal: Journal;
  /** Of the bus. */
  readonly messages: MessageLog;
  /** As a program with a token of this role; undefined: nobody. */
  fetch(role: Role | undefined, path: string, init?: RequestInit): Promise<Response>;
  json(role: Role | undefined, path: string, init?: RequestInit): Promise<{ status: number; body: unknown }>;
  /** What a browser has after the one-time link. */
  signIn(): Promise<{ readonly cookie: string; readonly csrf: string }>;
}

/** Answers in two pieces of text. */
export function streamingModel(before: () => Promise<void> = async () => {}): VisionLanguageModel {
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
  } = {},
): Promise<TestConsole> {
  const context = await fakeContext(options.model ?? streamingModel(), { console: { port: 0 }, ...input } as never);
  const journal = await Journal.open({ file: undefined, limits: { maxAgeMs: 1e12, maxBytes: 2 ** 30 } });
  // As the service's hub does before it tells anybody.
  for (const kind of ['scene', 'answer', 'watch', 'status', 'problem'] as const)
    context.hub.on(kind, (event) => void journal.record(event as AnyDeviceEvent));
  const state = new DeviceStateFollower(context.hub);
  const log = new LogTail((message) => message);
  const messages = new MessageLog(context.config.root);
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
      broker: () => ({ address: 'mqtt://127.0.0.1', state: 'online' }),
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
    async fetch(role, path, init = {}) {
      const token = role && (tokens.get(role) ?? (await makeToken(role)));
      const headers = { ...(init.headers as object), ...(token && { authorization: `Bearer ${token}` }) };
      return await fetch(console.address + path, { ...init, headers, signal: AbortSignal.timeout(10_000) });
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
