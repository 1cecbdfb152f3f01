/**
 * Keeps a thread from being stopped inside native code. ONNX Runtime's binding aborts the whole process when its
 * thread is torn down during a call, so whoever stops the thread closes the gate first and waits until it is out.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { SdkError } from '../../core/errors.js';

const INSIDE = 0;
const CLOSED = 1;
const POLL_MS = 2;
/** A thread that ended inside can never come out. */
const EXIT_TIMEOUT_MS = 60_000;

export class NativeGate {
  /** `[inside, closed]`; hand it to the thread in its workerData. */
  readonly state: Int32Array;

  constructor(state: Int32Array = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT))) {
    this.state = state;
  }

  /** In the thread: runs `work`, a native call, unless the gate is closed. */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    // Each side writes before it reads, so at least one of them sees the other.
    Atomics.store(this.state, INSIDE, 1);
    try {
      if (Atomics.load(this.state, CLOSED) !== 0) {
        throw new SdkError('ERR_ENGINE_DIED', "The engine's worker thread is being stopped.");
      }
      return await work();
    } finally {
      Atomics.store(this.state, INSIDE, 0);
      Atomics.notify(this.state, INSIDE);
    }
  }

  /** From outside: no further call begins; resolves when the running one has ended. */
  async close(): Promise<void> {
    Atomics.store(this.state, CLOSED, 1);
    while (Atomics.load(this.state, INSIDE) !== 0) await delay(POLL_MS);
  }

  /** The same while the process exits, when nothing asynchronous runs any more. */
  closeNow(): void {
    Atomics.store(this.state, CLOSED, 1);
    Atomics.wait(this.state, INSIDE, 1, EXIT_TIMEOUT_MS);
  }
}

const open = new Set<NativeGate>();

/** Closes the gate when the process exits, until the returned function is called. */
export function closeOnExit(gate: NativeGate): () => void {
  if (open.size === 0) process.on('exit', closeAll);
  open.add(gate);
  return () => {
    open.delete(gate);
    if (open.size === 0) process.off('exit', closeAll);
  };
}

function closeAll(): void {
  for (const gate of open) gate.closeNow();
}
