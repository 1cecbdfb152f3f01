/** Tells a worker thread that nobody waits for a call any more; it looks at the word between its steps. */
export class CancelFlag {
  /** `[1]`, shared: not 0 when cancelled. Send it along with the request. */
  readonly shared: Int32Array = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));

  set(): void {
    Atomics.store(this.shared, 0, 1);
  }
}
