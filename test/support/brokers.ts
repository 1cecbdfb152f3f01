/** Real brokers for tests: Mosquitto as a process on a free loopback port, and the embedded one. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import { openEmbeddedBroker, type ProtocolVersion } from '#sdk/bus/index.js';

const MOSQUITTO = ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto', '/usr/bin/mosquitto'].find((path) =>
  existsSync(path),
);

export interface TestBroker extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>;
  /** Starts it again on the same port, with nothing remembered. */
  restart(): Promise<void>;
}

/** Mosquitto, whose process a test may hold up, and whose configuration it may change. */
export interface Mosquitto extends TestBroker {
  /** SIGSTOP: it takes connections, as the kernel does for it, and answers nothing. */
  signal(signal: NodeJS.Signals): void;
  /** Starts it again on the same port, with nothing remembered; with another configuration when one is given. */
  restart(config?: string): Promise<void>;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}

/** `config` replaces the default (anonymous access); `{port}` in it becomes the port, `{folder}` a private folder. */
export async function startMosquitto(
  config = 'listener {port} 127.0.0.1\nallow_anonymous true\n',
  files: Readonly<Record<string, string>> = {},
): Promise<Mosquitto> {
  if (MOSQUITTO === undefined) {
    throw new Error('These tests need Mosquitto: apt install mosquitto mosquitto-clients');
  }
  const folder = await mkdtemp(join(tmpdir(), 'scenebus-mosquitto-'));
  const port = await freePort();
  const configure = async (wanted: string): Promise<void> => {
    const text = wanted.replaceAll('{port}', String(port)).replaceAll('{folder}', folder);
    await writeFile(join(folder, 'mosquitto.conf'), `${text}\npersistence false\nuser root\n`);
  };
  await configure(config);
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content, { mode: 0o600 });
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    // A test that timed out never disposes its broker: the kernel ends it with the test's process.
    const started = spawn('setpriv', ['--pdeathsig', 'KILL', MOSQUITTO, '-v', '-c', join(folder, 'mosquitto.conf')], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child = started;
    await new Promise<void>((resolve, reject) => {
      let log = '';
      const read = (chunk: Buffer): void => {
        log += chunk.toString();
        if (/mosquitto version \S+ running/.test(log)) resolve();
      };
      // Read for ever: a full pipe would stop the broker.
      started.stdout?.on('data', read);
      started.stderr?.on('data', read);
      started.once('exit', (code) => reject(new Error(`mosquitto ended with ${code}: ${log}`)));
    });
  };
  const kill = async (): Promise<void> => {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null) return;
    const gone = new Promise((resolve) => running.once('exit', resolve));
    running.kill('SIGKILL');
    await gone;
  };
  await start();
  return {
    url: `mqtt://127.0.0.1:${port}`,
    port,
    kill,
    signal: (signal) => void child?.kill(signal),
    async restart(changed) {
      if (changed !== undefined) await configure(changed);
      await start();
    },
    async [Symbol.asyncDispose]() {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function startEmbedded(): Promise<TestBroker> {
  let broker = await openEmbeddedBroker({ port: 0 });
  const { port, url } = broker;
  return {
    url,
    port,
    kill: () => broker.close(),
    restart: async () => {
      broker = await openEmbeddedBroker({ port });
    },
    [Symbol.asyncDispose]: () => broker.close(),
  };
}

/** Every broker and version that the bus must work with. */
export const BROKERS: readonly {
  readonly name: string;
  readonly version: ProtocolVersion;
  /** What is agreed on when no version is asked for. */
  readonly negotiates: ProtocolVersion;
  readonly start: () => Promise<TestBroker>;
}[] = [
  { name: 'Mosquitto, MQTT 5', version: 5, negotiates: 5, start: () => startMosquitto() },
  { name: 'Mosquitto, MQTT 3.1.1', version: 4, negotiates: 5, start: () => startMosquitto() },
  { name: 'embedded Aedes, MQTT 3.1.1', version: 4, negotiates: 4, start: startEmbedded },
];

export interface Received {
  readonly topic: string;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into payloads of any shape
  readonly json: any;
  readonly packet: IPublishPacket;
}

/**
 * A plain MQTT client, connected. By itself mqtt.js waits for ever for a connection that was closed before its CONNACK
 * and is not to be made again: neither `connect` nor `end` nor `error` follows.
 */
export async function connectOnce(url: string, options: IClientOptions): Promise<MqttClient> {
  return await mqtt.connectAsync(url, { reconnectPeriod: 0, ...options }, false);
}

/** A plain MQTT client that collects what it hears; waiting is by condition, never by time. */
export class Listener implements AsyncDisposable {
  readonly messages: Received[] = [];
  readonly client: MqttClient;
  #waiters: (() => void)[] = [];

  constructor(client: MqttClient) {
    this.client = client;
    client.on('message', (topic, payload, packet) => {
      const text = payload.toString();
      let json: unknown;
      try {
        json = JSON.parse(text);
      } catch {
        json = undefined;
      }
      this.messages.push({ topic, text, json, packet });
      for (const wake of this.#waiters.splice(0)) wake();
    });
  }

  static async open(
    broker: { readonly port: number },
    version: ProtocolVersion,
    filter: string | readonly string[] = '#',
    options: IClientOptions = {},
  ): Promise<Listener> {
    const client = await connectOnce(`mqtt://127.0.0.1:${broker.port}`, { protocolVersion: version, ...options });
    const listener = new Listener(client);
    await client.subscribeAsync([...(typeof filter === 'string' ? [filter] : filter)], { qos: 1 });
    return listener;
  }

  /** The first message that fits, past or future; the test's own timeout is the limit. */
  async next(fits: (message: Received) => boolean): Promise<Received> {
    for (;;) {
      const found = this.messages.find(fits);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }

  on(topic: string): Received[] {
    return this.messages.filter((message) => message.topic === topic);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.endAsync(true);
  }
}

export interface Proxy extends AsyncDisposable {
  readonly url: string;
  /** Cuts every connection without a DISCONNECT; the next one is let through. */
  cut(): void;
  /** Cuts, and lets nobody through until `open`. */
  close(): void;
  /** Loses what either side sends, the ends of connections too: what is lost then is not sent later. */
  swallow(): void;
  /** Keeps back what either side sends, as TCP does while packets are lost, and hands it on at `open`. */
  hold(): void;
  open(): void;
}

/** A TCP proxy in front of a broker, to make an outage that only one client sees. */
export async function startProxy(targetPort: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const held = new Set<() => void>();
  let mode: 'open' | 'closed' | 'swallowing' | 'holding' = 'open';
  /** From now on; what is held back goes first. */
  const carry = (from: Socket, to: Socket): void => {
    const kept: (Buffer | 'end')[] = [];
    let isTorn = false;
    const release = (): void => {
      held.delete(release);
      for (const chunk of kept.splice(0)) {
        if (chunk === 'end') to.end();
        else if (!to.destroyed) to.write(chunk);
      }
    };
    const pass = (chunk: Buffer | 'end'): void => {
      // A stream of which bytes are missing is of no use to anybody: what is left of it is lost too.
      isTorn ||= mode === 'swallowing';
      if (isTorn) return;
      kept.push(chunk);
      if (mode === 'holding') held.add(release);
      else release();
    };
    sockets.add(from);
    from.on('error', () => {});
    from.on('data', pass);
    from.on('close', () => {
      sockets.delete(from);
      if (mode === 'closed') to.destroy();
      else pass('end');
    });
  };
  const server = createServer((incoming) => {
    if (mode === 'closed') {
      incoming.destroy();
      return;
    }
    const outgoing = connect(targetPort, '127.0.0.1');
    // As the ends of it have it: else an answer right behind an acknowledgement waits 40 ms for one in return.
    incoming.setNoDelay(true);
    outgoing.setNoDelay(true);
    carry(incoming, outgoing);
    carry(outgoing, incoming);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `mqtt://127.0.0.1:${address.port}`,
    cut,
    close() {
      mode = 'closed';
      cut();
    },
    swallow() {
      mode = 'swallowing';
    },
    hold() {
      mode = 'holding';
    },
    open() {
      mode = 'open';
      for (const release of [...held]) release();
    },
    async [Symbol.asyncDispose]() {
      mode = 'closed';
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Polls until `check` holds. */
export async function until(check: () => boolean): Promise<void> {
  while (!check()) await new Promise((resolve) => setTimeout(resolve, 5));
}

const run = promisify(execFile);

/** One of the mosquitto command line clients: an implementation that shares no code with ours. */
export async function mosquittoTool(
  tool: 'mosquitto_sub' | 'mosquitto_pub' | 'mosquitto_rr',
  broker: { readonly port: number },
  args: readonly string[],
): Promise<string> {
  const { stdout } = await run(tool, ['-h', '127.0.0.1', '-p', String(broker.port), ...args]);
  return stdout;
}
