import type { Logger } from 'scenebus';
import type { LogLine } from './api/schemas.js';

const MAX_LINES = 500;
const MAX_CHARACTERS = 2_000;

/** The last lines of the log, for people without a shell on the device. */
export class LogTail {
  readonly #redact: (message: string) => string;
  #lines: LogLine[] = [];
  #count = 0;

  /** `redact` takes secrets out. */
  constructor(redact: (message: string) => string) {
    this.#redact = redact;
  }

  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  /** A logger that also keeps what it hands on. */
  tee(logger: Logger): Logger {
    return {
      log: (level, message, details) => {
        logger.log(level, message, details);
        if (level === 'debug') return;
        this.#count += 1;
        this.#lines.push({
          seq: this.#count,
          atMs: Date.now(),
          level,
          message: this.#redact(message).slice(0, MAX_CHARACTERS),
        });
        if (this.#lines.length > MAX_LINES) this.#lines.shift();
      },
    };
  }
}
