/**
 * Pictures at addresses that the server's owner allows. Whoever may send requests must not be able to have this machine
 * look around in its network: each address and each redirection is on the list, names lead to public addresses unless
 * the owner says otherwise, and what is connected to is an address that was checked.
 */
import { lookup } from 'node:dns';
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { SdkError } from 'scenebus';
import { isPublicAddress } from '../http/public-address.js';
import { ApiError } from './api-error.js';
import { PICTURE_TYPES } from './picture-types.js';

export interface RemotePictureOptions {
  /**
   * Scheme, host and port that pictures may come from: `https://images.example`, `https://*.example.org` (any name below
   * it), `http://10.0.0.7:5000`. A host that is written as a number is meant itself, wherever it lies.
   */
  readonly origins: readonly string[];
  /** Whether names may lead to this machine or a private network. Default false. */
  readonly privateAddresses?: boolean | undefined;
  /** Default 16 MiB. */
  readonly maxBytes?: number | undefined;
  /** For all of it, redirections included. Default 10 000. */
  readonly timeoutMs?: number | undefined;
  /** Default 3. */
  readonly maxRedirects?: number | undefined;
}

const DEFAULTS = { privateAddresses: false, maxBytes: 16 * 2 ** 20, timeoutMs: 10_000, maxRedirects: 3 };
/** Fetched at once; others are told to come back. */
const MOST_FETCHES = 8;
const REDIRECTIONS = [301, 302, 303, 307, 308];
/** What is on the way when a connection dies is small, and headers of pictures are too. */
const HEADER_BYTES = 16 * 1024;

interface AllowedOrigin {
  readonly protocol: string;
  readonly port: string;
  /** Lower case; with `isBelow` what a name must end with, dot included. */
  readonly host: string;
  readonly isBelow: boolean;
}

export class RemotePictures {
  readonly #options: typeof DEFAULTS;
  readonly #origins: readonly AllowedOrigin[];
  #fetches = 0;

  /** @throws SdkError ERR_CONFIG_INVALID for what is no origin */
  constructor({ origins, ...options }: RemotePictureOptions) {
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    this.#options = { ...DEFAULTS, ...given };
    this.#origins = origins.map(parseOrigin);
  }

  /** @throws ApiError 400 for an address that is none, or not on the list */
  allowed(text: string, param: string): URL {
    const refuse = (why: string) => new ApiError(400, 'invalid_image_url', `${why} Send the picture itself.`, param);
    if (!URL.canParse(text) || text.length > 4_096) throw refuse('Expected an address of a picture.');
    const url = new URL(text);
    if (url.username !== '' || url.password !== '') throw refuse('Expected an address without a user and a password.');
    if (!this.#origins.some((origin) => matches(origin, url)))
      throw refuse(`This server fetches no pictures from ${JSON.stringify(url.origin.slice(0, 200))}.`);
    return url;
  }

  /**
   * The file behind an address that `allowed` let through.
   * @throws ApiError 400 for what does not come, is too large, no picture, or somewhere it may not be; 429
   */
  async fetch(address: URL, param: string, signal: AbortSignal): Promise<Buffer> {
    if (this.#fetches >= MOST_FETCHES)
      throw new ApiError(429, 'ERR_BUSY', 'Too many pictures are being fetched. Try again in a moment.');
    const { timeoutMs } = this.#options;
    const ending = new AbortController();
    const onAbort = () => ending.abort(signal.reason);
    const timer = setTimeout(() => {
      const message = `The picture did not come within ${timeoutMs} ms.`;
      ending.abort(new ApiError(400, 'image_fetch_failed', message, param));
    }, timeoutMs);
    this.#fetches++;
    try {
      signal.throwIfAborted();
      signal.addEventListener('abort', onAbort, { once: true });
      return await this.#follow(address, param, ending.signal);
    } catch (error) {
      ending.signal.throwIfAborted();
      throw error;
    } finally {
      this.#fetches--;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #follow(address: URL, param: string, signal: AbortSignal): Promise<Buffer> {
    let url = address;
    for (let hops = 0; ; hops++) {
      const response = await this.#request(url, param, signal);
      try {
        const { statusCode = 0, headers } = response;
        if (REDIRECTIONS.includes(statusCode) && headers.location !== undefined) {
          if (hops >= this.#options.maxRedirects) throw failed('It is redirected too often.', param);
          if (!URL.canParse(headers.location, url.href)) throw failed('It is redirected to no address.', param);
          url = this.allowed(new URL(headers.location, url).href, param);
          continue;
        }
        if (statusCode !== 200) throw failed(`Its server answered ${statusCode}.`, param);
        return await this.#body(response, param);
      } finally {
        response.destroy();
      }
    }
  }

  #request(url: URL, param: string, signal: AbortSignal): Promise<IncomingMessage> {
    const send = url.protocol === 'https:' ? requestHttps : requestHttp;
    return new Promise((resolve, reject) => {
      const refused = (error: unknown) =>
        reject(error instanceof ApiError ? error : failed('It cannot be reached.', param));
      const request = send(url, {
        agent: false,
        signal,
        lookup: this.#lookup(param),
        maxHeaderSize: HEADER_BYTES,
        headers: { accept: PICTURE_TYPES.join(', '), 'accept-encoding': 'identity', 'user-agent': 'scenebus' },
      });
      request.once('socket', (socket) =>
        socket.once('connect', () => {
          // Before a byte is sent: whatever led here, this is where it goes.
          if (!this.#mayReach(socket.remoteAddress, url)) request.destroy(elsewhere(param));
        }),
      );
      request.once('response', resolve);
      request.on('error', refused);
      request.end();
    });
  }

  /** Names are looked up once, by whoever connects: what is checked is what is connected to. */
  #lookup(param: string): LookupFunction {
    return (hostname, options, callback) => {
      lookup(hostname, { ...options, all: true }, (error, found) => {
        const addresses = found ?? [];
        const isFine = this.#options.privateAddresses || addresses.every(({ address }) => isPublicAddress(address));
        const [first] = addresses;
        if (error !== null || first === undefined) callback(error ?? new Error('no address'), []);
        else if (!isFine) callback(elsewhere(param), []);
        else if (options.all) callback(null, addresses);
        else callback(null, first.address, first.family);
      });
    };
  }

  #mayReach(address: string | undefined, { hostname }: URL): boolean {
    if (address === undefined) return false;
    const host = hostname.replace(/^\[|\]$/g, '');
    // The owner wrote this very number.
    if (isIP(host) !== 0) return true;
    return this.#options.privateAddresses || isPublicAddress(address);
  }

  async #body(response: IncomingMessage, param: string): Promise<Buffer> {
    const { maxBytes } = this.#options;
    const { headers } = response;
    const type = (headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
    if (!PICTURE_TYPES.includes(type)) {
      const given = JSON.stringify(type.slice(0, 64));
      const message = `Expected a picture of the type ${PICTURE_TYPES.join(', ')} there, but its server says ${given}.`;
      throw new ApiError(400, 'invalid_image_format', message, param);
    }
    if (!['identity', undefined].includes(headers['content-encoding']))
      throw failed('It is compressed, which was not asked for.', param);
    const tooLarge = () => failed(`It is larger than ${maxBytes} bytes.`, param);
    if (Number(headers['content-length'] ?? 0) > maxBytes) throw tooLarge();
    const pieces: Buffer[] = [];
    let size = 0;
    try {
      for await (const piece of response as AsyncIterable<Buffer>) {
        size += piece.length;
        if (size > maxBytes) throw tooLarge();
        pieces.push(piece);
      }
    } catch (error) {
      throw error instanceof ApiError ? error : failed('Its server broke off.', param);
    }
    return Buffer.concat(pieces);
  }
}

function failed(why: string, param: string): ApiError {
  return new ApiError(400, 'image_fetch_failed', `The picture cannot be fetched. ${why}`, param);
}

function elsewhere(param: string): ApiError {
  return failed('Its name leads to this machine or a private network.', param);
}

/** @throws SdkError ERR_CONFIG_INVALID */
function parseOrigin(text: string): AllowedOrigin {
  const isBelow = /^https?:\/\/\*\./i.test(text);
  const plain = isBelow ? text.replace('*.', '') : text;
  const url = URL.canParse(plain) ? new URL(plain) : undefined;
  const isOrigin =
    url !== undefined &&
    /^https?:$/.test(url.protocol) &&
    /^\/?$/.test(url.pathname) &&
    url.username + url.password + url.search + url.hash === '' &&
    !url.hostname.includes('*') &&
    !(isBelow && isIP(url.hostname) !== 0);
  if (!isOrigin) {
    const message = `Expected where pictures may come from as https://host, https://*.host or http://host:port, but received ${JSON.stringify(text)}.`;
    throw new SdkError('ERR_CONFIG_INVALID', message);
  }
  const { protocol, port, hostname } = url;
  return { protocol, port, host: isBelow ? `.${hostname}` : hostname, isBelow };
}

function matches({ protocol, port, host, isBelow }: AllowedOrigin, url: URL): boolean {
  if (url.protocol !== protocol || url.port !== port) return false;
  return isBelow ? url.hostname.endsWith(host) && url.hostname.length > host.length : url.hostname === host;
}
