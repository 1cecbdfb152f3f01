/** The child's end: signs of life, messages, and an end no later than the parent's. */
import { engineAddon } from '../native/index.js';
import { BEAT_ARGUMENT, type Beat, PARENT_ARGUMENT } from './protocol.js';

export interface ParentLink {
  send(message: object): void;
  /** Ends this process when what was sent is on its way. */
  exit(code: number): void;
}

/** @returns undefined when this process was not started by SupervisedChild: there is nobody to serve. */
export function connectParent(onMessage: (message: unknown) => void): ParentLink | undefined {
  const beatMs = Number(process.argv[BEAT_ARGUMENT]);
  const parent = Number(process.argv[PARENT_ARGUMENT]);
  if (process.send === undefined || !(beatMs > 0) || !(parent > 0)) return undefined;
  // Signals to the whole group (Ctrl-C, a service manager) are the parent's to answer: it decides when to stop.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('disconnect', endNow);
  try {
    engineAddon().dieWithParent();
  } catch {
    // Without the addon nothing can be loaded either, which is told then; the channel's end is still noticed.
  }
  if (process.ppid !== parent) endNow(); // it ended before the kernel was asked to tell
  const send = (message: object) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => {});
  };
  process.on('message', onMessage);
  setInterval(() => send({ type: 'beat' } satisfies Beat), beatMs).unref();
  return {
    send,
    exit(code) {
      process.off('disconnect', endNow);
      if (process.connected) process.send?.({ type: 'beat' } satisfies Beat, () => process.exit(code));
      else process.exit(code);
    },
  };
}

/** Native threads may be at work for minutes: nothing waits for them. */
function endNow(): void {
  process.kill(process.pid, 'SIGKILL');
}
