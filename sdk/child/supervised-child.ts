/**
 * A Node process that may be killed at any moment: started, watched by its signs of life, talked to, and ended for
 * certain. It ends with its parent, however that ends.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { SdkError } from '../core/errors.js';
import { PROCESS_LOOK_MS, watchStopped } from '../core/process-state.js';
import { childEnvironment } from './environment.js';
import { LastLines } from './last-lines.js';
import { isBeat } from './protocol.js';

export interface ChildOptions {
  /** Compiled module that calls `connectParent`. */
  readonly entry: URL;
  /** For messages: `model process`. */
  readonly name: string;
  /** Open files that the child inherits, the first as FIRST_DESCRIPTOR. */
  readonly descriptors?: readonly number[] | undefined;
  /** Without a sign of life for so long it counts as hung and is killed. */
  readonly hangMs: number;
  readonly onMessage: (message: unknown) => void;
  /** A line that it or a library wrote to its output. */
  readonly onLine: (line: string) => void;
  /** It ended or was given up without having been asked to end; told once, before `ended`. */
  readonly onLost: (error: SdkError) => void;
}

/** After the exit there may still be a line in the pipe that says why. */
const LAST_LINES_MS = 200;

export class SupervisedChild {
  /** Resolves when the process is gone and its memory with it: with why, unless it was asked to end. */
  readonly ended: Promise<SdkError | undefined>;
  readonly #options: ChildOptions;
  readonly #child: ChildProcess;
  readonly #lines: LastLines;
  #isAsked = false;
  #lost: SdkError | undefined;
  #beatAtMs = performance.now();

  constructor(options: ChildOptions) {
    this.#options = options;
    const { entry, hangMs, descriptors = [] } = options;
    const beatMs = Math.min(1000, Math.ceil(hangMs / 5));
    this.#child = fork(entry, [String(beatMs), String(process.pid)], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc', ...descriptors],
      execArgv: [],
      env: childEnvironment(),
      serialization: 'advanced',
    });
    this.#lines = new LastLines(options.onLine);
    this.#lines.read(this.#child.stdout);
    this.#lines.read(this.#child.stderr);
    this.#child.on('message', (message) => {
      this.#beatAtMs = performance.now();
      if (!isBeat(message)) options.onMessage(message);
    });
    this.ended = this.#watch(beatMs);
    this.unref();
  }

  /** undefined when it could not be started. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  send(message: object): void {
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  /** The program does not end while the child works … */
  ref(): void {
    this.#child.ref();
    this.#child.channel?.ref();
  }

  /** … and is not kept from ending by a child that waits. */
  unref(): void {
    this.#child.unref();
    this.#child.channel?.unref();
    for (const pipe of [this.#child.stdout, this.#child.stderr]) (pipe as unknown as { unref?(): void })?.unref?.();
  }

  /** Asks it to end, waits, kills. Resolves when it is gone; safe to call again. */
  async stop(request: object, graceMs: number): Promise<void> {
    this.#isAsked = true;
    this.send(request);
    await this.#end(graceMs);
  }

  /** Given up for a reason that its own signs of life do not tell. */
  kill(reason: SdkError): void {
    this.#lose(reason);
    this.#child.kill('SIGKILL');
  }

  async #end(graceMs: number): Promise<void> {
    this.ref();
    const kill = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
    await this.ended;
    clearTimeout(kill);
  }

  async #watch(beatMs: number): Promise<SdkError | undefined> {
    const timers = [
      setInterval(this.#look(beatMs), beatMs).unref(),
      setInterval(this.#lookWhetherStopped(), PROCESS_LOOK_MS).unref(),
    ];
    const how = await this.#exit();
    for (const timer of timers) clearInterval(timer);
    if (!this.#isAsked) this.#lose(this.#deathError(how));
    return this.#lost;
  }

  #exit(): Promise<string> {
    const child = this.#child;
    return new Promise((resolve) => {
      child.on('error', (error) => {
        if (child.pid === undefined) resolve(error.message); // never started
      });
      child.once('exit', async (code, signal) => {
        if (!this.#isAsked) {
          await Promise.race([
            new Promise((read) => child.once('close', read)),
            sleep(LAST_LINES_MS), // a process that it started may hold the pipe
          ]);
        }
        resolve(signal ?? `exit code ${code}`);
      });
    });
  }

  #look(beatMs: number): () => void {
    let lookedAtMs = performance.now();
    return () => {
      const nowMs = performance.now();
      // This thread was held up itself: signs of life may be waiting to be read.
      if (nowMs - lookedAtMs > 3 * beatMs) this.#beatAtMs = nowMs;
      lookedAtMs = nowMs;
      if (nowMs - this.#beatAtMs >= this.#options.hangMs && !this.#isAsked) this.kill(this.#hangError());
    };
  }

  /** Its signs of life would be missed much later: a long step of the engine needs patience, this does not. */
  #lookWhetherStopped(): () => void {
    const isStopped = watchStopped(() => this.pid);
    return () => {
      if (isStopped() && !this.#isAsked) this.kill(this.#stoppedError());
    };
  }

  #lose(error: SdkError): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    this.#options.onLost(error);
  }

  #deathError(how: string): SdkError {
    const { name } = this.#options;
    const output = this.#lines.text;
    const hint = how === 'SIGKILL' ? 'Perhaps the system was out of memory.' : 'See details.output.';
    return new SdkError(
      'ERR_ENGINE_DIED',
      `Expected the ${name} to run, but it exited unexpectedly (${how}). ${hint}`,
      {
        details: { how, output },
      },
    );
  }

  #hangError(): SdkError {
    const { name, hangMs } = this.#options;
    return new SdkError(
      'ERR_ENGINE_DIED',
      `Expected a heartbeat from the ${name} within ${hangMs} ms, but it hangs and was killed.`,
      { details: { how: 'hung', hangMs, output: this.#lines.text } },
    );
  }

  #stoppedError(): SdkError {
    return new SdkError(
      'ERR_ENGINE_DIED',
      `Expected the ${this.#options.name} to run, but it has been stopped (SIGSTOP) and was killed.`,
      { details: { how: 'stopped', output: this.#lines.text } },
    );
  }
}
