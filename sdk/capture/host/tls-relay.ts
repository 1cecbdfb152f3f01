/**
 * OpenCV reads https and rtsps through several libraries, each with its own idea of certificates (FFmpeg accepts any,
 * GStreamer asks the system, neither knows a fingerprint). So they are given plain text on loopback, and the TLS
 * connection to the camera is made here, where one rule holds.
 */
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { Transform } from 'node:stream';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { SdkError } from '../../core/errors.js';
import { redactAddress } from '../address.js';
import type { CameraSettings } from '../options.js';
import { connectionError } from './connection-error.js';

/** Of a camera's options, see `cameraTlsSchema`. */
export type TlsSettings = NonNullable<CameraSettings['tls']>;

/** A listener on loopback that stands for the camera. */
export interface TlsRelay {
  /** The same address in plain text, to be opened instead. */
  readonly url: string;
  /** Why the last connection to the camera failed; undefined when it did not. */
  readonly failure: SdkError | undefined;
}

/** Within the time of OpenCV's own attempt. */
const CONNECT_TIMEOUT_MS = 10_000;

/** Whether the address is of https or rtsps. */
export function isTlsUrl(url: string): boolean {
  return /^(?:https|rtsps):/i.test(url);
}

/** @throws SdkError ERR_CAPTURE_NOT_FOUND for a caFile that cannot be read */
async function connectionOptions(url: URL, tls: TlsSettings | undefined): Promise<ConnectionOptions> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 322));
  const isName = !/^[\d.]+$|:/.test(host);
  return {
    host,
    port,
    ...(isName ? { servername: host } : {}),
    // Judged by `judge`, which can still read the certificate: a refused socket has none any more.
    rejectUnauthorized: false,
    ...(tls?.caFile === undefined ? {} : { ca: await readAuthority(tls.caFile) }),
  };
}

async function readAuthority(caFile: string): Promise<Buffer> {
  try {
    return await readFile(caFile);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SdkError('ERR_CAPTURE_NOT_FOUND', `Expected a PEM file as the camera's tls.caFile, but: ${reason}.`);
  }
}

/** @returns what is wrong with the certificate that came */
function judge(socket: TLSSocket, tls: TlsSettings | undefined, shown: string): SdkError | undefined {
  const fingerprint = socket.getPeerCertificate().fingerprint256 ?? 'none';
  const refuse = (message: string) =>
    new SdkError('ERR_CAPTURE_REFUSED', message, { details: { fingerprint, isCertificate: true } });
  if (tls?.fingerprint !== undefined) {
    const plain = (text: string) => text.replaceAll(':', '').toLowerCase();
    if (plain(fingerprint) === plain(tls.fingerprint)) return undefined;
    return refuse(
      `Expected the certificate of ${shown} to have the fingerprint in tls.fingerprint, but it has ${fingerprint}. If the camera got a new certificate, write that one; if not, something else answers in its place.`,
    );
  }
  if (tls?.verify === false || socket.authorized) return undefined;
  // Typed as an Error, and a code in truth.
  const why = String(socket.authorizationError).toLowerCase().replaceAll('_', ' ');
  return refuse(
    `Expected a certificate for ${shown} that a known authority has signed, but it is not valid (${why}). ` +
      `Cameras mostly sign their own: if this one is yours, allow it with tls: { fingerprint: "${fingerprint}" }, or ` +
      'name its authority with tls: { caFile: … }; tls: { verify: false } takes any.',
  );
}

/**
 * A connection whose certificate has been judged; nothing has been sent on it yet.
 * @throws SdkError ERR_CAPTURE_REFUSED for the certificate; what sockets throw
 */
export async function connectJudged(
  url: URL,
  tls: TlsSettings | undefined,
  shown: string,
  timeoutMs: number,
): Promise<TLSSocket> {
  const options = await connectionOptions(url, tls);
  return new Promise((resolve, reject) => {
    const socket = connectTls(options);
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(timeoutMs, () => fail(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })));
    socket.once('error', fail);
    socket.once('secureConnect', () => {
      const wrong = judge(socket, tls, shown);
      if (wrong !== undefined) return fail(wrong);
      socket.setTimeout(0);
      socket.off('error', fail);
      resolve(socket);
    });
  });
}

/** Listens on loopback until the process ends. */
export async function openTlsRelay(address: string, tls: TlsSettings | undefined): Promise<TlsRelay> {
  const url = new URL(address);
  const shown = redactAddress(address);
  await connectionOptions(url, tls); // a file that cannot be read is told now
  let failure: SdkError | undefined;
  const server = createServer((client) => {
    client.on('error', () => client.destroy());
    connectJudged(url, tls, shown, CONNECT_TIMEOUT_MS).then(
      (upstream) => {
        failure = undefined;
        upstream.on('error', () => upstream.destroy());
        const outward = url.protocol === 'https:' ? client.pipe(new HostHeader(url.host)) : client;
        outward.pipe(upstream);
        upstream.pipe(client);
        closeTogether(client, upstream);
      },
      (error: Error) => {
        failure = error instanceof SdkError ? error : connectionError(shown, error);
        client.destroy();
      },
    );
  });
  await listen(server);
  server.unref();
  const { port } = server.address() as AddressInfo;
  const plain = new URL(address);
  const userInfo = /^[^:]+:\/\/([^/?#]*@)/.exec(address)?.[1] ?? '';
  const scheme = plain.protocol === 'https:' ? 'http' : 'rtsp';
  return {
    url: `${scheme}://${userInfo}127.0.0.1:${port}${plain.pathname}${plain.search}`,
    get failure() {
      return failure;
    },
  };
}

function closeTogether(client: Socket, upstream: TLSSocket): void {
  if (client.destroyed) upstream.destroy();
  client.on('close', () => upstream.destroy());
  upstream.on('close', () => client.end());
}

function listen(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
}

/** The client believes to talk to loopback; servers with several names look at this line. Requests are GETs only. */
class HostHeader extends Transform {
  readonly #host: string;
  #head = '';

  constructor(host: string) {
    super();
    this.#host = host;
  }

  override _transform(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#head += chunk.toString('latin1');
    for (let end = this.#head.indexOf('\r\n\r\n'); end >= 0; end = this.#head.indexOf('\r\n\r\n')) {
      const head = this.#head.slice(0, end + 4).replace(/^Host:.*$/im, `Host: ${this.#host}`);
      this.#head = this.#head.slice(end + 4);
      this.push(Buffer.from(head, 'latin1'));
    }
    if (this.#head.length > 65_536) this.destroy(new Error('a request without an end'));
    done();
  }
}
