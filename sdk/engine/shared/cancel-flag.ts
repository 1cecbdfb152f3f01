/** Tells whoever computes elsewhere that nobody waits for a call any more; it looks at the word between its steps. */
export class CancelFlag {
  /** `[1]`, shared: not 0 when cancelled. For worker threads: send it along with the request. */
  readonly shared: Int32Array = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  /** `[1]`: the same for the addon. */
  readonly own: Int32Array = new Int32Array(1);

  set(): void {
    Atomics.store(this.shared, 0, 1);
    this.own[0] = 1;
  }
}
