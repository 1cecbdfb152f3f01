/** What the tests of the bus stand on. */
import { type AddressInfo, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { Listener } from '../../support/brokers.js';
import { Ledger } from '../../support/fault/ledger.js';

test('a listener and a ledger do not wait for ever for a broker that closes without a word', async () => {
  const mute = createServer((socket) => socket.resume().end());
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  const { port } = mute.address() as AddressInfo;
  await expect(Listener.open({ port }, 5)).rejects.toThrow(/connect to server/);
  await expect(new Ledger(`mqtt://127.0.0.1:${port}`, 'victim', '/nowhere').listen()).rejects.toThrow(
    /connect to server/,
  );
  await new Promise((resolve) => mute.close(resolve));
});
