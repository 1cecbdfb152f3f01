/** The console of a service: it follows what happens from the first event on, and is served when there is a bus. */
import { type Logger, SdkError } from 'scenebus';
import type { Bus } from 'scenebus/bus';
import { redact } from 'scenebus/service';
import type { ConsoleDevice } from '../console/context.js';
import { DeviceStateFollower } from '../console/device-state.js';
import { LogTail } from '../console/log-tail.js';
import { type BusMessage, MessageLog } from '../console/mqtt/message-log.js';
import { Console } from '../console/server.js';
import type { EventHub } from '../events/hub.js';
import type { Problems } from '../events/problems.js';
import { stateFile } from './journal-options.js';

export interface DeviceConsoleOptions {
  readonly hub: EventHub;
  readonly tail: LogTail;
  readonly logger: Logger;
  /** Of the bus's topics. */
  readonly root: string;
}

export class DeviceConsole implements AsyncDisposable {
  readonly #options: DeviceConsoleOptions;
  readonly #state: DeviceStateFollower;
  readonly #messages: MessageLog;
  #console: Console | undefined;

  constructor(options: DeviceConsoleOptions) {
    this.#options = options;
    this.#state = new DeviceStateFollower(options.hub);
    this.#messages = new MessageLog(options.root);
  }

  /** Shows what goes over the bus. */
  listen(bus: Bus): void {
    const add = (message: BusMessage) => this.#messages.add(message);
    bus.onPublished(({ topic, payload, retain }) =>
      add({ direction: 'sent', topic, retain, payload: payload as object }),
    );
    bus.onReceived((message) => add({ direction: 'received', ...message }));
  }

  get address(): string | undefined {
    return this.#console?.address;
  }

  makeLink(): string | undefined {
    return this.#console?.hasPassword === false ? this.#console.makeLink() : undefined;
  }

  /**
   * A port that is taken and passwords that cannot be read are problems of the device, which works without its page.
   * @throws SdkError ERR_CONFIG_INVALID for an interface beyond loopback without TLS and a password
   */
  async open(device: Omit<ConsoleDevice, 'hub' | 'logger'> & { readonly problems: Problems }): Promise<void> {
    const { hub, tail, logger } = this.#options;
    const credentialsFile = stateFile(device.config, 'console.json');
    try {
      this.#console = await Console.start({
        device: Object.create(device, { hub: { value: hub }, logger: { value: logger } }) as ConsoleDevice,
        state: this.#state,
        log: tail,
        messages: this.#messages,
        credentialsFile,
      });
    } catch (error) {
      // Passwords that cannot be read close the console to everybody; the device works without its page.
      if (error instanceof SdkError && error.details.credentialsFile === undefined) throw error;
      if (error instanceof SdkError) {
        device.problems.report('console', error);
        return;
      }
      const { host, port } = device.config.console;
      const why = error instanceof Error ? error.message : String(error);
      const message = `The console cannot be served at ${host}:${port ?? 'any port'} (${why}). Choose another console.port and restart.`;
      device.problems.report('console', new SdkError('ERR_CONFIG_INVALID', message, { cause: error }));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#console?.[Symbol.asyncDispose]();
    this.#state[Symbol.dispose]();
  }
}

/** A logger whose last lines the console shows, without secrets. */
export function logTail(logger: Logger): { readonly logger: Logger; readonly tail: LogTail } {
  const tail = new LogTail((message) => redact(message));
  return { logger: tail.tee(logger), tail };
}
