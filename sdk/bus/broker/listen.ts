/** Opens a port for the embedded broker, with errors that say what to do. */
import type { Server as HttpServer } from 'node:http';
import type { Server } from 'node:net';
import { SdkError } from '../../core/errors.js';

/** @param wanted left out: `standard`, or any free port when that is taken. @throws SdkError as `listen`. */
export async function listenSomewhere(
  server: Server,
  host: string,
  wanted: number | undefined,
  standard: number,
): Promise<{ readonly port: number; readonly isFallback: boolean }> {
  try {
    return { port: await listen(server, host, wanted ?? standard), isFallback: false };
  } catch (error) {
    if (wanted !== undefined || !(error instanceof SdkError) || error.code !== 'ERR_BUS_PORT_IN_USE') throw error;
    return { port: await listen(server, host, 0), isFallback: true };
  }
}

/**
 * @param port 0: any free one. @returns the port.
 * @throws SdkError ERR_BUS_PORT_IN_USE, ERR_ARGUMENT_INVALID (no such interface).
 */
export function listen(server: Server | HttpServer, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (cause: NodeJS.ErrnoException): void => {
      reject(
        cause.code === 'EADDRINUSE' || cause.code === 'EACCES'
          ? new SdkError(
              'ERR_BUS_PORT_IN_USE',
              `Expected port ${port} on ${host} to be free for the embedded broker, but ${
                cause.code === 'EACCES' ? 'this user may not open it' : 'another program uses it'
              }. Choose another port, leave the port out, or use the broker that runs there.`,
              { cause, details: { host, port } },
            )
          : new SdkError(
              'ERR_ARGUMENT_INVALID',
              `Expected an interface of this machine for the embedded broker, but ${host}:${port} cannot be opened (${cause.code ?? cause.message}).`,
              { cause, details: { host, port } },
            ),
      );
    };
    server.once('error', onError);
    server.listen(port, host, () => {
      server.off('error', onError);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}
