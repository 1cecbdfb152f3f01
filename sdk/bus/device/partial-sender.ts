/** Pieces of an answer on their way: one unacknowledged at a time, so that a slow link gets fewer and longer ones. */
export class PartialSender {
  readonly #send: (index: number, text: string) => Promise<unknown>;
  #unsent = '';
  #index = 0;
  #isSending = false;
  #isEnded = false;

  /** @param send resolves when the piece has left; a failure ends the pieces, not the answer. */
  constructor(send: (index: number, text: string) => Promise<unknown>) {
    this.#send = send;
  }

  push(text: string): void {
    if (this.#isEnded || text === '') return;
    this.#unsent += text;
    if (!this.#isSending) void this.#pump();
  }

  /** The whole answer follows: nothing more is sent. */
  end(): void {
    this.#isEnded = true;
    this.#unsent = '';
  }

  async #pump(): Promise<void> {
    this.#isSending = true;
    try {
      while (this.#unsent !== '') {
        const text = this.#unsent;
        this.#unsent = '';
        await this.#send(this.#index, text);
        this.#index += 1;
      }
    } catch {
      this.end();
    } finally {
      this.#isSending = false;
    }
  }
}
