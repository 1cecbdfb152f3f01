/**
 * Node 20 has `Symbol.asyncDispose` but not `AsyncDisposableStack`. This releases in reverse order, runs every
 * release even when one fails, and does it once however often it is asked.
 */
export class DisposalStack implements AsyncDisposable {
  #releases: (() => void | Promise<void>)[] = [];
  #done: Promise<void> | undefined;

  defer(release: () => void | Promise<void>): void {
    this.#releases.push(release);
  }

  use<T extends AsyncDisposable | Disposable>(resource: T): T {
    this.defer(async () => {
      if (Symbol.asyncDispose in resource) await resource[Symbol.asyncDispose]();
      else resource[Symbol.dispose]();
    });
    return resource;
  }

  /** Hands the releases to the caller, for a factory that succeeded. */
  move(): DisposalStack {
    const moved = new DisposalStack();
    moved.#releases = this.#releases;
    this.#releases = [];
    return moved;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#done ??= this.#run();
    return this.#done;
  }

  async #run(): Promise<void> {
    const failures: unknown[] = [];
    for (const release of this.#releases.splice(0).reverse()) {
      try {
        await release();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, `${failures.length} resources failed to close`);
  }
}
