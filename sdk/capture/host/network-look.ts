/**
 * Asks a camera's server after OpenCV has failed, to tell a wrong password from a wrong path and a wrong host. Never
 * before: many cameras have one place only. Only what is understood counts; cameras answer in ways that no parser knows
 * and OpenCV reads all the same.
 */
import { connect, type Socket } from 'node:net';
import { isSdkError, SdkError } from '../../core/errors.js';
import { redactAddress } from '../address.js';
import { connectionError, statusError } from './connection-error.js';
import { httpGet } from './http-request.js';
import { connectJudged, type TlsSettings } from './tls-relay.js';

/** What a look found out. */
export interface Look {
  /** What is wrong, when that was understood. */
  readonly error?: SdkError | undefined;
  /** No other way of opening it will do better. */
  readonly isFinal?: boolean | undefined;
  /** It is a single picture. */
  readonly isSnapshot?: boolean | undefined;
}

/** `timeoutMs`: for the answer. */
export interface LookOptions {
  readonly timeoutMs: number;
  readonly tls: TlsSettings | undefined;
}

/** @returns nothing when the answer was not understood, or does not explain anything */
export async function look(kind: 'rtsp' | 'http', address: string, options: LookOptions): Promise<Look> {
  const url = new URL(address);
  const shown = redactAddress(address);
  try {
    return kind === 'rtsp' ? await lookRtsp(url, shown, options) : await lookHttp(address, url, shown, options);
  } catch (cause) {
    if (cause instanceof SdkError) return { error: cause, isFinal: true };
    const error = connectionError(shown, cause);
    // An answer that cannot be parsed says something about the parser.
    return isSdkError(error, 'ERR_CAPTURE_LOST') ? {} : { error, isFinal: true };
  }
}

/** One DESCRIBE (RFC 2326 §10.2) without credentials: a 401 is fine when the address has some. */
async function lookRtsp(url: URL, shown: string, options: LookOptions): Promise<Look> {
  const hasCredentials = url.username !== '';
  const status = await describeStatus(url, shown, options);
  if (status === undefined) {
    const message = `Expected an RTSP server at ${shown}, but what answers there is not one.`;
    return { error: new SdkError('ERR_CAPTURE_UNSUPPORTED', message) };
  }
  if (status === 401 && hasCredentials) {
    const message = `Expected access to ${shown}, but it could not be opened, and the server asks for a login. Check user name and password in the address.`;
    return { error: new SdkError('ERR_CAPTURE_REFUSED', message, { details: { status } }) };
  }
  const error = statusError(shown, status, hasCredentials);
  // Other refusals of a bare DESCRIBE do not mean that a full client fails.
  return error && (status === 401 || status === 403 || status === 404) ? { error, isFinal: true } : {};
}

async function describeStatus(url: URL, shown: string, { timeoutMs, tls }: LookOptions): Promise<number | undefined> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const socket: Socket =
    url.protocol === 'rtsps:'
      ? await connectJudged(url, tls, shown, timeoutMs)
      : connect({ host, port: Number(url.port || 554) });
  const plain = `${url.protocol}//${url.host}${url.pathname}${url.search}`;
  return new Promise((resolve, reject) => {
    let answer = '';
    const finish = (settle: () => void) => {
      socket.destroy();
      settle();
    };
    socket.setTimeout(timeoutMs, () =>
      finish(() => reject(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }))),
    );
    socket.on('error', (error) => finish(() => reject(error)));
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
      if (!answer.includes('\n') && answer.length < 256) return;
      const status = /^RTSP\/\d\.\d (\d{3})/.exec(answer)?.[1];
      finish(() => resolve(status === undefined ? undefined : Number(status)));
    });
    socket.on('close', () => resolve(undefined));
    // Queued until a plain connection is there.
    socket.write(`DESCRIBE ${plain} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\nUser-Agent: SceneBus\r\n\r\n`);
  });
}

/** A GET that is left after its headers. */
async function lookHttp(address: string, url: URL, shown: string, { timeoutMs, tls }: LookOptions): Promise<Look> {
  const response = await httpGet(address, { timeoutMs, tls });
  response.destroy();
  const status = response.statusCode ?? 0;
  const error = statusError(shown, status, url.username !== '');
  // A server that is busy or broken may be neither in a moment.
  if (error) return { error, isFinal: status < 500 };
  if (status !== 200) return {};
  const type = (response.headers['content-type'] ?? '').toLowerCase().split(';')[0]!.trim();
  if (/^image\/(?:jpe?g|pjpeg|png|webp)$/.test(type)) return { isSnapshot: true };
  // Not text/*: servers call .ts files TypeScript.
  if (type !== 'text/html' && type !== 'application/json') return {};
  return {
    error: new SdkError(
      'ERR_CAPTURE_UNSUPPORTED',
      `Expected a video stream (MJPEG, MP4 …) at ${shown}, but it is "${type}". That is a page: use the address of the camera's stream itself, or wait if the camera is starting.`,
      { details: { contentType: type } },
    ),
  };
}
