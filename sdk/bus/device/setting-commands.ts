/** Commands to camera settings: checked, handed on, and answered by the state that holds afterwards. */
import type { Logger } from '../../core/logger.js';
import { decodeRequest, describeIssues } from '../contract/decoding.js';
import { settingCommandSchema } from '../contract/schemas/index.js';
import type { CameraSetting } from '../contract/settings.js';
import { parseTopic } from '../contract/topics.js';
import type { IncomingMessage } from '../transport/link.js';
import type { SettingHandler } from './verb-results.js';

export interface SettingCommandsOptions {
  readonly root: string;
  /** Publishes the last state again, so that whoever sent the command sees what holds. */
  readonly restate: (camera: string, setting: CameraSetting) => void;
  readonly logger: Logger;
  /** Milliseconds of a clock that only goes forward. */
  readonly monotonicNow: () => number;
}

const MAX_BYTES = 1024;
const LOG_EVERY_MS = 10_000;

/** Checks commands to camera settings and hands them to `handler`; counts those that it refused. */
export class SettingCommands {
  handler: SettingHandler | undefined;
  refused = 0;
  readonly #options: SettingCommandsOptions;
  #lastLogMs = Number.NEGATIVE_INFINITY;

  constructor(options: SettingCommandsOptions) {
    this.#options = options;
  }

  receive(message: IncomingMessage): void {
    const parsed = parseTopic(this.#options.root, message.topic);
    if (parsed?.kind !== 'setting-command') return;
    // Deleting a retained message is an empty payload with the retain flag: not a command.
    if (message.payload.length === 0 && message.retain) return;
    const { camera, setting } = parsed;
    const command = commandOf(message);
    if (typeof command === 'string') this.#refuse(message.topic, camera, setting, command);
    else if (this.handler === undefined) this.#refuse(message.topic, camera, setting, 'this device has no settings');
    else void this.#carryOut(this.handler, message.topic, camera, setting, command.value);
  }

  async #carryOut(
    handler: SettingHandler,
    topic: string,
    camera: string,
    setting: CameraSetting,
    value: boolean,
  ): Promise<void> {
    try {
      await handler(camera, setting, value);
    } catch (error) {
      this.#refuse(topic, camera, setting, error instanceof Error ? error.message : String(error));
    }
  }

  #refuse(topic: string, camera: string, setting: CameraSetting, why: string): void {
    this.refused += 1;
    this.#options.restate(camera, setting);
    const nowMs = this.#options.monotonicNow();
    if (nowMs - this.#lastLogMs < LOG_EVERY_MS) return;
    this.#lastLogMs = nowMs;
    this.#options.logger.log('warn', 'Refused a setting command', { topic, why, refused: this.refused });
  }
}

/** The value of a command, or why it is refused. */
function commandOf(message: IncomingMessage): { readonly value: boolean } | string {
  if (message.retain) {
    return 'expected a command that is not retained: a retained one would be carried out again after every reconnect';
  }
  if (message.payload.length > MAX_BYTES) return `expected at most ${MAX_BYTES} bytes`;
  const decoded = decodeRequest(message.payload);
  if (!decoded.ok) return decoded.problem;
  const parsed = settingCommandSchema.safeParse(decoded.value);
  if (!parsed.success) return `expected true, false or { "value": … }, but ${describeIssues(parsed.error)}`;
  return typeof parsed.data === 'boolean' ? { value: parsed.data } : parsed.data;
}
