/** GET as cameras want it: Basic or Digest authentication (RFC 7616), their own certificates, untidy headers. */
import { createHash, randomBytes } from 'node:crypto';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { SdkError } from '../../core/errors.js';
import { redactAddress } from '../address.js';
import { connectJudged, type TlsSettings } from './tls-relay.js';

/** `timeoutMs`: for the connection and for silence on it. */
export interface HttpRequestOptions {
  readonly tls: TlsSettings | undefined;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

const MAX_REDIRECTS = 5;

/**
 * Resolves with the headers; the body is the caller's to read or destroy.
 * @throws what sockets and TLS throw; SdkError ERR_CAPTURE_REFUSED for its certificate
 */
export async function httpGet(address: string, options: HttpRequestOptions): Promise<IncomingMessage> {
  let url = new URL(address);
  const { username, password } = url;
  let authorization = username === '' ? undefined : basic(username, password);
  let hasTriedDigest = false;
  for (let redirects = 0; ; ) {
    const response = await getOnce(url, authorization, options);
    const status = response.statusCode ?? 0;
    const challenge = String(response.headers['www-authenticate'] ?? '');
    if (status === 401 && username !== '' && !hasTriedDigest && /digest/i.test(challenge)) {
      response.destroy();
      hasTriedDigest = true;
      authorization = digest(challenge, `${url.pathname}${url.search}`, decoded(username), decoded(password));
      continue;
    }
    const { location } = response.headers;
    if (status < 300 || status > 399 || location === undefined || redirects++ >= MAX_REDIRECTS) return response;
    response.destroy();
    const next = new URL(location, url);
    if (!/^https?:$/.test(next.protocol)) return response;
    if (next.host !== url.host) authorization = undefined; // the password is for this host alone
    url = next;
  }
}

async function getOnce(
  url: URL,
  authorization: string | undefined,
  { tls, timeoutMs, signal, headers }: HttpRequestOptions,
): Promise<IncomingMessage> {
  const isTls = url.protocol === 'https:';
  // Nothing is sent before the certificate has been judged.
  const secure = isTls ? await connectJudged(url, tls, redactAddress(url.href), timeoutMs) : undefined;
  return new Promise((resolve, reject) => {
    const outgoing: ClientRequest = request({
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port || (isTls ? 443 : 80),
      path: `${url.pathname}${url.search}`,
      headers: {
        host: url.host,
        'user-agent': 'SceneBus',
        ...(authorization === undefined ? {} : { authorization }),
        ...headers,
      },
      ...(secure === undefined ? { agent: false } : { createConnection: () => secure }),
      insecureHTTPParser: true,
      signal,
      timeout: timeoutMs,
    });
    outgoing.on('timeout', () =>
      outgoing.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })),
    );
    outgoing.on('error', reject);
    outgoing.on('response', resolve);
    outgoing.end();
  });
}

/** The whole body, at most `limitBytes`. @throws SdkError ERR_IMAGE_TOO_LARGE */
export async function readBody(response: IncomingMessage, limitBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > limitBytes) {
      response.destroy();
      throw new SdkError('ERR_IMAGE_TOO_LARGE', `Expected at most ${limitBytes} bytes of a picture, but more came.`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const basic = (username: string, password: string) =>
  `Basic ${Buffer.from(`${decoded(username)}:${decoded(password)}`).toString('base64')}`;

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** RFC 7616 §3.4, with qop=auth or none. */
function digest(challenge: string, uri: string, username: string, password: string): string {
  const facts = Object.fromEntries(
    [...challenge.matchAll(/(\w+)=(?:"([^"]*)"|([^\s,]+))/g)].map(([, name, quoted, bare]) => [
      name!.toLowerCase(),
      quoted ?? bare ?? '',
    ]),
  );
  const { realm = '', nonce = '', qop = '', opaque, algorithm = 'MD5' } = facts;
  const name = /^sha-256/i.test(algorithm) ? 'sha256' : 'md5';
  const hash = (text: string) => createHash(name).update(text).digest('hex');
  const cnonce = randomBytes(8).toString('hex');
  const secret = hash(`${username}:${realm}:${password}`);
  const a1 = /-sess$/i.test(algorithm) ? hash(`${secret}:${nonce}:${cnonce}`) : secret;
  const a2 = hash(`GET:${uri}`);
  const hasQop = /(?:^|,)\s*auth\s*(?:,|$)/.test(qop);
  const response = hash(hasQop ? `${a1}:${nonce}:00000001:${cnonce}:auth:${a2}` : `${a1}:${nonce}:${a2}`);
  return [
    `Digest username="${username}", realm="${realm}", nonce="${nonce}", uri="${uri}", response="${response}"`,
    `algorithm=${algorithm}`,
    ...(hasQop ? ['qop=auth', 'nc=00000001', `cnonce="${cnonce}"`] : []),
    ...(opaque === undefined ? [] : [`opaque="${opaque}"`]),
  ].join(', ');
}
