import { closeSync, openSync } from 'node:fs';

/**
 * SIGHUP has two meanings: the terminal that a command was started from is gone, or, of old, "read your configuration
 * again". It is the first when there was a terminal and is none now.
 */
export class ReloadSignal {
  readonly #hasTerminal: () => boolean;
  readonly #hadTerminal: boolean;
  #handler: (() => void) | undefined;

  constructor(hasTerminal: () => boolean = isOnTerminal) {
    this.#hasTerminal = hasTerminal;
    this.#hadTerminal = hasTerminal();
  }

  /** Called for each request to reload. Returns a function that takes the handler away. */
  handle(handler: () => void): () => void {
    this.#handler = handler;
    return () => {
      if (this.#handler === handler) this.#handler = undefined;
    };
  }

  /** On SIGHUP. @returns false when it is no request to reload, or nothing can be reloaded: then it means the end. */
  receive(): boolean {
    if (this.#handler === undefined || (this.#hadTerminal && !this.#hasTerminal())) return false;
    this.#handler();
    return true;
  }
}

function isOnTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
