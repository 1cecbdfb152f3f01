/**
 * Camera addresses: parsed strictly, because they end up in pipelines and file names; and shown without secrets.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SdkError } from '../core/errors.js';
import { redact } from '../core/redaction.js';

export const TEST_PATTERNS = [
  'checker',
  'moving',
  'clock',
  'gstreamer',
  'hang',
  'die',
  'end',
  'freeze',
  'still',
] as const;
export type TestPattern = (typeof TEST_PATTERNS)[number];

export type CaptureAddress =
  | { readonly kind: 'v4l2'; readonly device: string }
  | { readonly kind: 'csi'; readonly sensor: number }
  /** `url` holds only characters of RFC 3986, none of which ends a quoted string of a pipeline. */
  | { readonly kind: 'rtsp' | 'http'; readonly url: string }
  /** A video file or a folder of pictures; which one is seen when it is opened. */
  | { readonly kind: 'path'; readonly path: string; readonly loop: boolean | undefined }
  | { readonly kind: 'test'; readonly pattern: TestPattern; readonly frames: number };

const EXPECTED =
  'Expected a camera number (0), /dev/video0, v4l2:…, csi:0, rtsp://…, http://…, file:clip.mp4?loop, the path of a video, a folder of pictures, or test:checker';

function invalid(shown: string, reason: string): SdkError {
  return new SdkError('ERR_CAPTURE_ADDRESS_INVALID', `${EXPECTED}, but received "${shown}": ${reason}.`, {
    details: { address: shown, reason },
  });
}

/**
 * `/dev/video0`, `/dev/v4l/by-id/…` and links that udev rules make (`/dev/camera_front`, `/dev/cameras/left`): letters,
 * digits and marks, nothing that a pipeline could read as syntax. Where a link leads is seen when it is opened.
 */
const DEVICE = /^\/dev(?:\/[A-Za-z0-9_][A-Za-z0-9:._+-]{0,254}){1,4}$/;
const DEVICE_NUMBER = /^\d{1,3}$/;
const SCHEME = /^([A-Za-z][A-Za-z0-9+.-]*):/;
const MAX_LENGTH = 4096;

/**
 * @throws SdkError ERR_CAPTURE_ADDRESS_INVALID. Its message never holds a user name, a password or a query's values.
 *
 * @example
 * parseAddress('rtsp://user:pw@10.0.0.7/main') // { kind: 'rtsp', url: 'rtsp://user:pw@10.0.0.7/main' }
 */
export function parseAddress(address: string): CaptureAddress {
  if (typeof address !== 'string' || address === '') throw invalid(String(address), 'it is empty');
  const shown = redactAddress(address);
  if (address.length > MAX_LENGTH)
    throw invalid(`${shown.slice(0, 40)}…`, `it is longer than ${MAX_LENGTH} characters`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(address)) {
    throw invalid(JSON.stringify(shown).slice(1, -1), 'it holds control characters');
  }
  if (DEVICE_NUMBER.test(address)) return { kind: 'v4l2', device: `/dev/video${Number(address)}` };
  if (address.startsWith('/dev/')) return parseDevice(address, shown);

  const scheme = SCHEME.exec(address)?.[1]?.toLowerCase();
  if (scheme === undefined) return { kind: 'path', path: resolve(address), loop: undefined };
  const rest = address.slice(scheme.length + 1);
  switch (scheme) {
    case 'v4l2':
      return parseDevice(DEVICE_NUMBER.test(rest) ? `/dev/video${Number(rest)}` : rest, shown);
    case 'csi':
      if (!/^[0-7]$/.test(rest)) throw invalid(shown, 'a CSI sensor number is 0 to 7');
      return { kind: 'csi', sensor: Number(rest) };
    case 'rtsp':
    case 'rtsps':
      return { kind: 'rtsp', url: strictUrl(address, shown) };
    case 'http':
    case 'https':
      return { kind: 'http', url: strictUrl(address, shown) };
    case 'file':
      return parseFile(address, rest, shown);
    case 'test':
      return parseTest(rest, shown);
    default:
      throw invalid(shown, `"${scheme}:" is not known; write ./${shown} if it is a file name`);
  }
}

/** For programs that check a configuration. @throws SdkError ERR_CAPTURE_ADDRESS_INVALID, see `parseAddress` */
export function requireCameraAddress(address: string): void {
  parseAddress(address);
}

function parseDevice(device: string, shown: string): CaptureAddress {
  if (!DEVICE.test(device) || device.includes('..'))
    throw invalid(shown, 'a device is /dev/videoN or a link below /dev, of letters, digits and : . _ + -');
  return { kind: 'v4l2', device };
}

function strictUrl(address: string, shown: string): string {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw invalid(shown, wrongUserInfo(address) ?? 'it is not a valid URL');
  }
  const authority = /^[^:]+:\/\/([^/?#]*)/.exec(address)?.[1] ?? '';
  if (!authority.includes('@')) {
    const reason = wrongUserInfo(address);
    if (reason !== undefined) throw invalid(shown, reason);
  }
  if (!/^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])$/.test(url.hostname))
    throw invalid(shown, 'its host name is not valid');
  url.hash = '';
  // An empty password is one that cameras ask for, but URLs forget its colon.
  const isEmptyPassword = url.username !== '' && url.password === '' && /:@[^@]*$/.test(authority);
  const href = isEmptyPassword ? url.href.replace('@', ':@') : url.href;
  // What WHATWG URLs leave as it is but a pipeline might read: quotes, `!`, `\`, `|`, spaces …
  return href.replace(/[^A-Za-z0-9\-._~:/?[\]@$&()*+,;=%]/gu, (character) =>
    [...new TextEncoder().encode(character)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  );
}

/** `rtsp://admin:a/b@host`: user-info that the URL rules end before its `@`. Undefined: there is nothing like it. */
function wrongUserInfo(address: string): string | undefined {
  if (!/^[^:]+:\/\/[^/?#@]*:[^@]*[/?#][^@]*@[A-Za-z0-9[]/.test(address)) return undefined;
  return 'the user name or password seems to hold a / ? or #: write %2F, %3F and %23 for them';
}

function parseFile(address: string, rest: string, shown: string): CaptureAddress {
  const mark = rest.lastIndexOf('?');
  const name = mark < 0 ? rest : rest.slice(0, mark);
  const query = mark < 0 ? '' : rest.slice(mark + 1);
  const loop = /^(?:|loop|loop=(?:1|true)|loop=(?:0|false))$/.test(query) ? query : undefined;
  if (loop === undefined) throw invalid(shown, 'after the "?" of a file only "loop" may follow');
  if (name === '') throw invalid(shown, 'it names no file');
  let path: string;
  if (name.startsWith('//')) {
    try {
      path = fileURLToPath(address.slice(0, address.length - (mark < 0 ? 0 : query.length + 1)));
    } catch (cause) {
      throw invalid(shown, cause instanceof Error ? cause.message : 'it is not a valid file URL');
    }
  } else {
    path = resolve(name);
  }
  return { kind: 'path', path, loop: query === '' ? undefined : !/=(?:0|false)$/.test(query) };
}

function parseTest(rest: string, shown: string): CaptureAddress {
  const match = /^([a-z]+)(?:\?frames=(\d{1,9}))?$/.exec(rest);
  const pattern = TEST_PATTERNS.find((known) => known === match?.[1]);
  if (pattern === undefined) throw invalid(shown, `the test patterns are ${TEST_PATTERNS.join(', ')}, with ?frames=N`);
  return { kind: 'test', pattern, frames: Number(match?.[2] ?? 0) };
}

/** Parts of an address that no log or message may show; works on invalid addresses as well. */
export function secretsOf(address: string): string[] {
  const found = new Set<string>();
  const add = (value: string | undefined) => {
    if (value === undefined || value === '') return;
    found.add(value);
    try {
      found.add(decodeURIComponent(value));
    } catch {
      // not percent-encoded
    }
  };
  // Up to the last `@`: a password may hold what ends the user-info for others.
  const userInfo = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/(.*)@/s.exec(address)?.[1];
  if (userInfo?.includes(':')) {
    const password = userInfo.slice(userInfo.indexOf(':') + 1);
    add(password);
    // As it stands in the header of HTTP's Basic authentication.
    if (password !== '') add(Buffer.from(decoded(userInfo)).toString('base64'));
  }
  if (NETWORK.test(address)) {
    for (const pair of (/\?(.*)$/s.exec(address)?.[1] ?? '').split('&')) {
      const value = pair.slice(pair.indexOf('=') + 1);
      if (value.length >= 4) add(value);
    }
    for (const [, value] of address.matchAll(PASSWORD_PAIR)) add(value);
  }
  return [...found];
}

const NETWORK = /^(?:https?|rtsps?):/i;
/** `…_password=secret_channel=1…` in a path. */
const PASSWORD_PAIR =
  /(?<![A-Za-z0-9])(?:pass(?:word|wd)?|pwd|pw|token|secret)=(.*?)(?=[_&?;,/|][A-Za-z][A-Za-z0-9]{0,15}=|$)/gi;

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address without user name, password and the values of a query. Works on invalid addresses as well. */
export function redactAddress(address: string): string {
  let shown = address.replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/).*@/s, '$1***@');
  if (NETWORK.test(shown)) shown = shown.replace(/\?.*$/s, (query) => query.replace(/=[^&]*/g, '=***'));
  return redact(shown);
}
