/** What systemd would be to a service: a datagram socket, of which Node has none. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const SCRIPT = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', chr(0), 1))
print('"ready"', flush=True)
while True: print(json.dumps(s.recv(4096).decode()), flush=True)`;

export interface FakeServiceManager extends AsyncDisposable {
  /** All that it was told so far. */
  readonly messages: readonly string[];
  /** The first message that fits, past or future; the test's own timeout is the limit. */
  next(fits: (message: string) => boolean): Promise<string>;
}

/** @param address a path, or `@` and a name. */
export async function startServiceManager(address: string): Promise<FakeServiceManager> {
  const child = spawn('python3', ['-c', SCRIPT, address], { stdio: ['ignore', 'pipe', 'inherit'] });
  const messages: string[] = [];
  const waiters: (() => void)[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    messages.push(JSON.parse(line));
    for (const wake of waiters.splice(0)) wake();
  });
  const next = async (fits: (message: string) => boolean): Promise<string> => {
    for (;;) {
      const found = messages.find(fits);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => waiters.push(resolve));
    }
  };
  await next((message) => message === 'ready');
  messages.shift();
  return {
    messages,
    next,
    async [Symbol.asyncDispose]() {
      child.kill();
      await once(child, 'exit');
    },
  };
}
