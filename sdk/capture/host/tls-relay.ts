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

export type TlsSettings = NonNullable<CameraSettings['tls']>;

export interface TlsRelay {
  /** The same address in plain text, to be opened instead. */
  readonly url: string;
  /** Why the last connection to the camera failed; undefined when it did not. */
  readonly failure: SdkError | undefined;
}

export function isTlsUrl(url: string): boolean {
  return /^(?:https|rtsps):/i.test(url);
}

/** @throws SdkError ERR_CAPTURE_NOT_FOUND for a caFile that cannot be read */
export async function tlsOptions(url: URL, tls: TlsSettings | undefined): Promise<ConnectionOptions> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 322));
  const isName = !/^[\d.]+$|:/.test(host);
  const judged = (tls?.verify ?? true) && tls?.fingerprint === undefined;
  return {
    host,
    port,
    ...(isName ? { servername: host } : {}),
    rejectUnauthorized: judged,
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

/** @returns what is wrong with the certificate that came, if anything is that TLS itself does not judge */
export function checkFingerprint(socket: TLSSocket, tls: TlsSettings | undefined, shown: string): SdkError | undefined {
  if (tls?.fingerprint === undefined) return undefined;
  const plain = (text: string) => text.replaceAll(':', '').toLowerCase();
  const came = socket.getPeerCertificate().fingerprint256 ?? 'none';
  if (plain(came) === plain(tls.fingerprint)) return undefined;
  return new SdkError(
    'ERR_CAPTURE_REFUSED',
    `Expected the certificate of ${shown} to have the fingerprint in tls.fingerprint, but it has ${came}. If the camera got a new certificate, write that one; if not, something else answers in its place.`,
    { details: { fingerprint: came, isCertificate: true } },
  );
}

/** A certificate that TLS refused, with its fingerprint, so that it can be allowed; undefined for other failures. */
export function certificateError(error: unknown, socket: TLSSocket, shown: string): SdkError | undefined {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const isCertificate = /CERT|SIGNED|ISSUER|VERIFY|CHAIN|ALTNAME|CRL/.test(code);
  if (!isCertificate) return undefined;
  const came = socket.getPeerCertificate().fingerprint256;
  return new SdkError(
    'ERR_CAPTURE_REFUSED',
    `Expected a certificate for ${shown} that a known authority has signed, but: ${message}. ` +
      'Cameras mostly sign their own: if this one is yours, allow it with ' +
      `tls: { fingerprint: ${came === undefined ? '…' : `"${came}"`} }, or name its authority with tls: { caFile: … }; tls: { verify: false } takes any.`,
    { details: { reason: code, isCertificate: true, ...(came === undefined ? {} : { fingerprint: came }) } },
  );
}

/** Listens on loopback until the process ends. */
export async function openTlsRelay(address: string, tls: TlsSettings | undefined): Promise<TlsRelay> {
  const url = new URL(address);
  const shown = redactAddress(address);
  const options = await tlsOptions(url, tls);
  let failure: SdkError | undefined;
  const server = createServer((client) => {
    const upstream = connectTls(options);
    const drop = (error: SdkError) => {
      failure = error;
      client.destroy();
      upstream.destroy();
    };
    upstream.once('secureConnect', () => {
      const wrong = checkFingerprint(upstream, tls, shown);
      if (wrong !== undefined) return drop(wrong);
      failure = undefined;
      const outward = url.protocol === 'https:' ? client.pipe(new HostHeader(url.host)) : client;
      outward.pipe(upstream);
      upstream.pipe(client);
    });
    upstream.on('error', (error) => drop(certificateError(error, upstream, shown) ?? lost(error, shown)));
    client.on('error', () => upstream.destroy());
    closeTogether(client, upstream);
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

function lost(error: Error, shown: string): SdkError {
  return new SdkError('ERR_CAPTURE_LOST', `Expected to talk to ${shown}, but the connection failed: ${error.message}.`);
}

function closeTogether(client: Socket, upstream: TLSSocket): void {
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
