/** Asks camera servers before OpenCV does, to tell a wrong password from a wrong path and a wrong host. */
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { SdkError } from '../../core/errors.js';
import { redactAddress } from '../address.js';

function connectionError(shown: string, cause: unknown): SdkError {
  const error = cause as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException };
  const code = error.code ?? error.cause?.code ?? error.cause?.name;
  switch (code) {
    case 'ECONNREFUSED':
    case 'ECONNRESET':
      return new SdkError(
        'ERR_CAPTURE_REFUSED',
        `Expected a camera server at ${shown}, but the connection was refused. Check the port, and that the camera's server is on.`,
        { details: { reason: code } },
      );
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new SdkError(
        'ERR_CAPTURE_NOT_FOUND',
        `Expected to find the host of ${shown}, but its name is unknown. Check it.`,
        {
          details: { reason: code },
        },
      );
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EHOSTDOWN':
      return new SdkError(
        'ERR_CAPTURE_NOT_FOUND',
        `Expected to reach the host of ${shown}, but there is no way to it. Check the network and the camera's power.`,
        { details: { reason: code } },
      );
    case 'ETIMEDOUT':
    case 'TimeoutError':
    case 'UND_ERR_CONNECT_TIMEOUT':
      return new SdkError(
        'ERR_CAPTURE_TIMEOUT',
        `Expected an answer from ${shown}, but none came in time. Check the network and the camera's power.`,
        { details: { reason: code } },
      );
    default:
      return new SdkError(
        'ERR_CAPTURE_LOST',
        `Expected to talk to ${shown}, but the connection failed (${code ?? 'unknown'}).`,
        {
          details: { reason: code },
        },
      );
  }
}

function statusError(shown: string, status: number, hasCredentials: boolean): SdkError | undefined {
  if (status === 401 || status === 403) {
    return new SdkError(
      'ERR_CAPTURE_REFUSED',
      `Expected to be let in at ${shown}, but the server answered ${status}. ${
        hasCredentials
          ? 'Check the user name and password in the address.'
          : 'Write user name and password into the address: scheme://user:password@host/…'
      }`,
      { details: { status } },
    );
  }
  if (status === 404 || status === 410) {
    return new SdkError(
      'ERR_CAPTURE_NOT_FOUND',
      `Expected a video at ${shown}, but the server answered ${status}: it knows no such path. Look it up in the camera's manual.`,
      { details: { status } },
    );
  }
  if (status >= 400) {
    return new SdkError('ERR_CAPTURE_REFUSED', `Expected a video at ${shown}, but the server answered ${status}.`, {
      details: { status },
    });
  }
  return undefined;
}

/** One DESCRIBE (RFC 2326 §10.2) without credentials: a 401 is fine when the address has some. */
export async function checkRtsp(address: string, timeoutMs: number): Promise<void> {
  const url = new URL(address);
  const shown = redactAddress(address);
  const hasCredentials = url.username !== '';
  const plain = `${url.protocol}//${url.host}${url.pathname}${url.search}`;
  const status = await describeStatus(url, plain, timeoutMs).catch((cause: unknown) => {
    throw connectionError(shown, cause);
  });
  if (status === undefined) {
    throw new SdkError(
      'ERR_CAPTURE_UNSUPPORTED',
      `Expected an RTSP server at ${shown}, but what answers there is none.`,
    );
  }
  if (status === 401 && hasCredentials) return;
  const error = statusError(shown, status, hasCredentials);
  // Other refusals of a bare DESCRIBE do not mean that a full client fails.
  if (error && (status === 401 || status === 403 || status === 404)) throw error;
}

function describeStatus(url: URL, plain: string, timeoutMs: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const secure = url.protocol === 'rtsps:';
    const port = Number(url.port || (secure ? 322 : 554));
    // Cameras sign their own certificates; nothing secret is sent here.
    const socket: Socket = secure ? connectTls({ host, port, rejectUnauthorized: false }) : connect({ host, port });
    let answer = '';
    const finish = (settle: () => void) => {
      socket.destroy();
      settle();
    };
    socket.setTimeout(timeoutMs, () =>
      finish(() => reject(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }))),
    );
    socket.on('error', (error) => finish(() => reject(error)));
    socket.on(secure ? 'secureConnect' : 'connect', () => {
      socket.write(`DESCRIBE ${plain} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\nUser-Agent: SceneBus\r\n\r\n`);
    });
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
      if (!answer.includes('\n') && answer.length < 256) return;
      const status = /^RTSP\/\d\.\d (\d{3})/.exec(answer)?.[1];
      finish(() => resolve(status === undefined ? undefined : Number(status)));
    });
    socket.on('close', () => resolve(undefined));
  });
}

/** A GET that is left after its headers. */
export async function checkHttp(address: string, timeoutMs: number): Promise<void> {
  const url = new URL(address);
  const shown = redactAddress(address);
  const headers: Record<string, string> = { 'user-agent': 'SceneBus' };
  const hasCredentials = url.username !== '';
  if (hasCredentials) {
    const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    headers.authorization = `Basic ${Buffer.from(pair).toString('base64')}`;
    url.username = '';
    url.password = '';
  }
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(new DOMException('no answer', 'TimeoutError')), timeoutMs);
  let response: Response;
  try {
    response = await fetch(url, { headers, signal: abort.signal });
  } catch (cause) {
    throw connectionError(shown, cause);
  } finally {
    clearTimeout(timer);
  }
  const type = response.headers.get('content-type')?.toLowerCase() ?? '';
  // Digest authentication: FFmpeg can do it, fetch cannot.
  const digest = /digest/i.test(response.headers.get('www-authenticate') ?? '');
  const status = response.status;
  abort.abort();
  if (status === 401 && hasCredentials && digest) return;
  const error = statusError(shown, status, hasCredentials);
  if (error) throw error;
  if (/^(?:text\/|application\/json|image\/)/.test(type)) {
    throw new SdkError(
      'ERR_CAPTURE_UNSUPPORTED',
      `Expected a video stream (MJPEG, MP4 …) at ${shown}, but it is "${type}". ${
        type.startsWith('image/')
          ? "That is a single picture: use the camera's stream address instead."
          : "That is a page: use the address of the camera's stream itself."
      }`,
      { details: { contentType: type } },
    );
  }
}
