/** What every child says besides its own messages. */

/** First argument of a child: how often it must give a sign of life, milliseconds. */
export const BEAT_ARGUMENT = 2;
/** Second argument: the process id of its parent. */
export const PARENT_ARGUMENT = 3;
/** The first file descriptor handed on by `ChildOptions.descriptors`. */
export const FIRST_DESCRIPTOR = 4;

/** The heartbeat of a child: it sends one every so often while its event loop turns. */
export interface Beat {
  readonly type: 'beat';
}

/** Whether a message of a child is a heartbeat; anything may come from a child. */
export function isBeat(message: unknown): message is Beat {
  return (message as Beat | undefined)?.type === 'beat';
}
