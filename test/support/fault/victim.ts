/**
 * A device as it stands in the field, to be maltreated: `scenebus run` with its capture and model processes, a camera, a
 * real broker behind a proxy, questions and watches going on, and a ledger of what was accepted and what arrived.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageRoot } from '#sdk/native/index.js';
import { type Proxy as BrokerProxy, freePort, type Mosquitto, startMosquitto, startProxy, until } from '../brokers.js';
import { Ledger } from './ledger.js';
import { type ChildPart, childOf, childrenOf, figuresOf, type ProcessFigures } from './processes.js';
import { LAMP, ScriptedCamera } from './scripted-camera.js';

const inRepository = (path: string) => join(packageRoot(), path);
/** Unlimited: what the broker acknowledged it has handed on, so that its own death loses nothing. */
export const BROKER_CONFIG =
  'listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n';
/** Pauses between questions of the traffic. */
const QUESTION_PAUSE_MS = 100;
const SCENE_MS = 700;
/** A question without an answer is asked again, as callers do. */
const ANSWER_LIMIT_MS = 3_000;

/** Soon back, however many faults follow each other. */
const QUICK_CAMERA = { timeoutMs: 2_000, openTimeoutMs: 10_000, frozenTimeoutMs: 0, reopen: { maximumDelayMs: 1_000 } };

export type Part = 'service' | ChildPart;

export interface VictimOptions {
  /** Laid over the configuration, part by part. */
  readonly config?: Readonly<Record<string, object>> | undefined;
  readonly cameraOptions?: object | undefined;
  readonly environment?: Readonly<Record<string, string>> | undefined;
  /** Of the journal. Default: one that goes with the victim. */
  readonly journalDirectory?: string | undefined;
  /** Milliseconds between questions; default 100. */
  readonly questionPauseMs?: number | undefined;
}

export interface Healthz {
  readonly state: string;
  readonly problems: readonly { readonly code: string; readonly message: string }[];
}

export class Victim implements AsyncDisposable {
  static readonly device = 'victim';
  readonly broker: Mosquitto;
  readonly proxy: BrokerProxy;
  readonly camera: ScriptedCamera;
  readonly ledger: Ledger;
  readonly folder: string;
  readonly journalFile: string;
  /** All that the service wrote to its log. */
  log = '';
  /** Codes by which it has ended. */
  readonly exits: (number | NodeJS.Signals | null)[] = [];
  isAsking = false;
  asked = 0;
  readonly #options: VictimOptions;
  #streams = 0;
  readonly #metricsPort: number;
  #child: ChildProcess | undefined;
  #exited: Promise<unknown> = Promise.resolve();
  #asking: Promise<void> | undefined;
  #isDisposed = false;

  private constructor(
    parts: { broker: Mosquitto; proxy: BrokerProxy; camera: ScriptedCamera; folder: string; metricsPort: number },
    options: VictimOptions,
  ) {
    this.broker = parts.broker;
    this.proxy = parts.proxy;
    this.camera = parts.camera;
    this.folder = parts.folder;
    this.#metricsPort = parts.metricsPort;
    this.#options = options;
    this.journalFile = join(options.journalDirectory ?? parts.folder, Victim.device, 'journal.db');
    this.ledger = new Ledger(parts.broker.url, Victim.device, this.journalFile);
  }

  /** Everything around the service, and its configuration; `start` starts it. */
  static async prepare(options: VictimOptions = {}): Promise<Victim> {
    const folder = await mkdtemp(join(tmpdir(), 'scenebus-victim-'));
    const broker = await startMosquitto(BROKER_CONFIG);
    const proxy = await startProxy(broker.port);
    const camera = await ScriptedCamera.start();
    const victim = new Victim({ broker, proxy, camera, folder, metricsPort: await freePort() }, options);
    await victim.configure();
    await victim.ledger.listen();
    return victim;
  }

  async configure(more: Readonly<Record<string, object>> = {}): Promise<void> {
    const { config = {}, cameraOptions, journalDirectory = this.folder } = this.#options;
    const watches = [{ id: 'lamp', question: LAMP, answerType: 'yes-no' }];
    const content: Readonly<Record<string, unknown>> = {
      version: 1,
      device: Victim.device,
      model: { directory: inRepository('examples/demo-model/checkpoint'), cacheDirectory: this.folder },
      cameras: [{ id: 'cam', address: this.camera.address, ...QUICK_CAMERA, ...cameraOptions }],
      describe: { minIntervalSeconds: 0.1 },
      watches,
      broker: { url: this.proxy.url, keepaliveSeconds: 5 },
      ask: { perCaller: { requestsPerSecond: 1_000, burst: 10_000 } },
      journal: { directory: journalDirectory },
      console: { enabled: false },
      metrics: { port: this.#metricsPort },
      healthIntervalSeconds: 1,
      ...config,
      ...more,
    };
    await writeFile(join(this.folder, 'config.json'), JSON.stringify(content));
  }

  /** Does not wait for anything. */
  spawn(): void {
    const command = inRepository('dist/device/cli/main.js');
    const child = spawn(process.execPath, [command, 'run', '--config', join(this.folder, 'config.json')], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...this.#options.environment },
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    this.#child = child;
    this.#exited = once(child, 'exit').then(([code, signal]) => {
      this.exits.push(code ?? signal);
    });
  }

  async start(): Promise<void> {
    this.spawn();
    await this.untilHealth(({ state }) => state === 'running');
  }

  /** Asked and never answered: those of a service that was killed, or away for longer than the broker keeps questions. */
  get unanswered(): number {
    const all = Array.from({ length: this.asked }, (_, index) => `q-${index + 1}`);
    return all.filter((transaction) => !this.ledger.answers.has(transaction)).length;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  pidOf(part: Part): number | undefined {
    return part === 'service' ? this.pid : childOf(this.pid, part);
  }

  /** Waits for it; a service that ended has none. */
  async untilPidOf(part: Part): Promise<number> {
    let pid: number | undefined;
    await this.until(() => {
      pid = this.pidOf(part);
      return pid !== undefined;
    });
    return pid!;
  }

  /** Until something is so; fails when the service ends meanwhile. */
  async until(check: () => boolean): Promise<void> {
    await until(() => check() || !this.isRunning);
    if (!this.isRunning && !check())
      throw new Error(`the service ended (${this.exits.at(-1)}):\n${this.log.slice(-4_000)}`);
  }

  /** undefined while nobody answers. */
  async healthz(): Promise<Healthz | undefined> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.#metricsPort}/healthz`, {
        signal: AbortSignal.timeout(2_000),
      });
      return (await response.json()) as Healthz;
    } catch {
      return undefined;
    }
  }

  async untilHealth(fits: (health: Healthz) => boolean): Promise<Healthz> {
    for (;;) {
      const health = await this.healthz();
      if (health !== undefined && fits(health)) return health;
      if (!this.isRunning) throw new Error(`the service ended (${this.exits.at(-1)}):\n${this.log.slice(-4_000)}`);
      await sleep(20);
    }
  }

  /** A health message from now on that names a reason, on the bus or at /healthz; its problems as one text. */
  async untilSaid(reason: RegExp): Promise<string> {
    const text = ({ problems }: Healthz) => problems.map(({ code, message }) => `${code} ${message}`).join('\n');
    const from = this.ledger.health.length;
    for (;;) {
      const said = [...this.ledger.health.slice(from), await this.healthz()]
        .map((health) => (health === undefined ? '' : text(health)))
        .find((each) => reason.test(each));
      if (said !== undefined) return said;
      await sleep(50);
    }
  }

  /** Questions from now on, one after another, until `quiet`. */
  ask(): void {
    this.isAsking = true;
    this.#asking ??= this.#keepAsking();
  }

  /** No more questions; the last one is answered or given up. */
  async quiet(): Promise<void> {
    this.isAsking = false;
    await this.#asking;
    this.#asking = undefined;
  }

  /** Resolves with the transaction of a question that was answered, asked after this call. */
  async untilAnswered(): Promise<void> {
    const from = this.asked;
    const answered = () =>
      [...this.ledger.answers].some(([key, { status }]) => status === 'ok' && numberOf(key) > from);
    await this.until(answered);
  }

  /** Nothing changes in the picture and nobody asks: resolves when the model has nothing to do. */
  async still(): Promise<void> {
    this.camera.sceneMs = Number.POSITIVE_INFINITY;
    await this.quiet();
    // Descriptions count, and come with the last change; health is told every second.
    let before = { seq: -1, tokens: -1 };
    await this.until(() => {
      const { seq, state, metrics } = this.ledger.last.get('health') ?? {};
      if (state !== 'running' || seq === before.seq) return false;
      const isStill = metrics.generatedTokens === before.tokens;
      before = { seq, tokens: metrics.generatedTokens };
      return isStill;
    });
  }

  /** Traffic as usual. */
  lively(): void {
    this.camera.sceneMs = SCENE_MS;
    this.ask();
  }

  /** Resolves while an answer is being written: its first piece has come. */
  async inTheMiddleOf(verb: 'ask' | 'describe', request: object): Promise<void> {
    const transaction = `m-${++this.#streams}`;
    await this.ledger.publish(`request/${verb}`, JSON.stringify({ ...request, transaction, stream: true }));
    await this.until(() => this.ledger.begun.has(transaction) || this.ledger.answers.has(transaction));
  }

  kill(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Until the process is gone. */
  async ended(): Promise<number | NodeJS.Signals | null> {
    await this.#exited;
    return this.exits.at(-1) ?? null;
  }

  /** Of the service and all of its children, by what they do. */
  figures(): Readonly<Record<string, ProcessFigures>> {
    const names = new Map<string, number>([['service', this.pid]]);
    for (const pid of childrenOf(this.pid)) {
      const part = (['model', 'capture'] as const).find((each) => childOf(this.pid, each) === pid);
      names.set(part ?? `other ${pid}`, pid);
    }
    return Object.fromEntries(
      [...names].flatMap(([name, pid]) => {
        const figures = figuresOf(pid);
        return figures === undefined ? [] : [[name, figures]];
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.isAsking = false;
    if (this.isRunning) {
      this.kill('SIGCONT');
      this.kill('SIGKILL');
      await this.#exited;
    }
    await this.ledger[Symbol.asyncDispose]();
    await this.camera[Symbol.asyncDispose]();
    await this.proxy[Symbol.asyncDispose]();
    await this.broker[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #keepAsking(): Promise<void> {
    while (this.isAsking) {
      this.asked += 1;
      const transaction = `q-${this.asked}`;
      const endAtMs = performance.now() + ANSWER_LIMIT_MS;
      try {
        await this.ledger.publish('request/ask', JSON.stringify({ question: LAMP, transaction, timeoutMs: 15_000 }));
        await until(() => this.ledger.answers.has(transaction) || !this.isAsking || performance.now() > endAtMs);
      } catch {
        // the broker is away
      }
      await sleep(this.#options.questionPauseMs ?? QUESTION_PAUSE_MS);
    }
  }
}

function numberOf(transaction: string): number {
  return Number(transaction.slice(2));
}
