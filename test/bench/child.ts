import { fork, type StdioOptions } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A Node process that answers one message with one message. */
export interface Child<Request, Answer> {
  ask(request: Request): Promise<Answer>;
  close(): Promise<void>;
}

/** @param module in this folder; it ends when it is disconnected, and replies `{ error }` where it has no answer */
export function startChild<Request extends object, Answer extends object>(
  module: string,
  stdio: StdioOptions = ['ignore', 'inherit', 'inherit', 'ipc'],
): Child<Request, Answer> {
  const child = fork(fileURLToPath(new URL(module, import.meta.url)), { stdio });
  return {
    ask: (request) =>
      new Promise<Answer>((resolve, reject) => {
        const onExit = (code: number | null, signal: string | null) =>
          reject(new Error(`${module} ended with ${signal ?? code}`));
        child.once('exit', onExit);
        child.once('message', (reply: Answer | { readonly error: string }) => {
          child.off('exit', onExit);
          if ('error' in reply) reject(new Error(reply.error));
          else resolve(reply);
        });
        child.send(request);
      }),
    async close() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.disconnect();
      await ended;
    },
  };
}
