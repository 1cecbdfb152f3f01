/** One capture host process: started, talked to, and ended for certain. */
import { type ChildProcess, fork } from 'node:child_process';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { SdkError } from '../core/errors.js';
import type { FromHost, ToHost } from './host/protocol.js';

export interface HostHandlers {
  /** Texts in messages may hold secrets of the address: redact before showing. */
  onMessage(message: FromHost): void;
  onDoorbell(): void;
  /** The process is gone without having been asked. */
  onDeath(error: SdkError): void;
  /** A line that OpenCV or a driver wrote. May hold secrets. */
  onLine(line: string): void;
}

const HOST_FILE = fileURLToPath(new URL('./host/main.js', import.meta.url));
/** Time to release the device after `stop`; then SIGKILL. Longer than the host's own patience with OpenCV. */
const GRACE_MS = 1500;
const KEPT_LINES = 20;

/**
 * Only what OpenCV, GStreamer and Node need: a process that decodes strangers' video holds no passwords. No http_proxy
 * either: only some of those parts honour it, and cameras stand in this network.
 */
const ENVIRONMENT =
  /^(?:PATH|HOME|USER|LANG|LC_.*|TZ|TMPDIR|LD_LIBRARY_PATH|XDG_.*|DISPLAY|WAYLAND_DISPLAY|GST_.*|OPENCV_.*|CUDA_.*|NVIDIA_VISIBLE_DEVICES|NVIDIA_DRIVER_CAPABILITIES|SCENEBUS_NATIVE_DIR|ASAN_OPTIONS|UBSAN_OPTIONS)$/i;

export class CaptureHost {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #lines: string[] = [];
  #stopping = false;

  constructor(handlers: HostHandlers) {
    const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => ENVIRONMENT.test(name)));
    this.#child = fork(HOST_FILE, [], {
      // 3 is the IPC channel, 4 (DOORBELL_FD) the doorbell.
      stdio: ['ignore', 'ignore', 'pipe', 'ipc', 'pipe'],
      execArgv: [],
      env: { OPENCV_LOG_LEVEL: 'ERROR', ...environment },
      serialization: 'json',
    });
    this.#exited = new Promise((resolve) => {
      this.#child.once('exit', () => resolve());
      this.#child.once('error', () => {
        if (this.#child.pid === undefined) resolve(); // never started
      });
    });
    this.#child.on('message', (message) => {
      if (!this.#stopping) handlers.onMessage(message as FromHost);
    });
    this.#child.once('exit', (code, signal) => {
      if (!this.#stopping) handlers.onDeath(this.#deathError(signal ?? `exit code ${code}`));
    });
    this.#child.on('error', (error) => {
      if (!this.#stopping) handlers.onDeath(this.#deathError(error.message));
    });
    const doorbell = this.#child.stdio[4] as Readable | null | undefined;
    doorbell?.on('data', () => handlers.onDoorbell());
    doorbell?.on('error', () => {});
    this.#readLines(handlers);
    // Whoever waits for a frame keeps the program alive; a camera that nobody reads or disposed of does not. When the
    // program ends, the channel closes, and with it the host.
    for (const handle of [this.#child, this.#child.channel, doorbell, this.#child.stderr]) {
      (handle as { unref?(): void } | null | undefined)?.unref?.();
    }
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  send(message: ToHost): void {
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  /**
   * Asks it to end, waits, kills. Resolves when the process is gone; safe to call again.
   * @param graceMs 0: kills at once one that cannot hear it
   */
  async stop(graceMs = GRACE_MS): Promise<void> {
    this.#stopping = true;
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    if (this.#child.connected) this.send({ type: 'stop' });
    else this.#child.kill('SIGTERM');
    const kill = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
    this.#child.ref();
    await this.#exited;
    clearTimeout(kill);
  }

  #readLines(handlers: HostHandlers): void {
    let rest = '';
    this.#child.stderr?.setEncoding('utf8');
    this.#child.stderr?.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = (lines.pop() ?? '').slice(-4096);
      for (const line of lines) {
        if (line.trim() === '') continue;
        this.#lines.push(line.slice(0, 500));
        if (this.#lines.length > KEPT_LINES) this.#lines.shift();
        handlers.onLine(line.slice(0, 500));
      }
    });
    this.#child.stderr?.on('error', () => {});
  }

  #deathError(how: string): SdkError {
    return new SdkError(
      'ERR_CAPTURE_HOST_DIED',
      `Expected the capture process to run, but it exited unexpectedly (${how}). A driver or codec may have crashed it; if it happens again, try another backend and see details.output.`,
      { details: { how, output: this.#lines.join('\n') } },
    );
  }
}
