/** What connections and answers of camera servers say, as errors that tell what to do. */
import { SdkError } from '../../core/errors.js';

/** Of a socket or its TLS. ERR_CAPTURE_LOST: nothing that is understood. */
export function connectionError(shown: string, cause: unknown): SdkError {
  const error = cause as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException };
  const code = error.code ?? error.cause?.code ?? error.cause?.name ?? error.message;
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

/** Of an HTTP or RTSP status; undefined for those that are no refusals. */
export function statusError(shown: string, status: number, hasCredentials: boolean): SdkError | undefined {
  if (status === 401 || status === 403) {
    return new SdkError(
      'ERR_CAPTURE_REFUSED',
      `Expected to be let in at ${shown}, but the server answered ${status}. ${
        hasCredentials
          ? 'Check the user name and password in the address.'
          : 'Write user name and password into the address: rtsp://user:password@host/…'
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
