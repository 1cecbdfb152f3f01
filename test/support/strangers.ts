/** Requests that no limit of one address meets. */
import { request as httpRequest } from 'node:http';

/** Every request from another address of loopback: limits of one address would answer in the place of the routes. */
let strangers = 0;
export function sendAsStranger(
  address: string,
  method: string,
  path: string,
  { headers = {}, body }: { readonly headers?: Record<string, string>; readonly body?: string | Uint8Array } = {},
): Promise<number> {
  strangers += 1;
  const localAddress = `127.${1 + Math.floor(strangers / 65_536)}.${(strangers >> 8) & 255}.${strangers & 255}`;
  const { port } = new URL(address);
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, method, path, localAddress, headers, agent: false, timeout: 10_000 };
    const request = httpRequest(options, (response) => {
      resolve(response.statusCode ?? 0);
      // The live stream never ends by itself.
      if (path.startsWith('/api/events')) request.destroy();
      else response.resume();
    });
    request.once('timeout', () => request.destroy(new Error('no answer within 10 s')));
    request.once('error', reject);
    request.end(body);
  });
}
