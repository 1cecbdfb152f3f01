/**
 * Camera addresses: parsed strictly, because they end up in pipelines and file names; and shown without secrets.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SdkError } from '../core/errors.js';

export const TEST_PATTERNS = ['checker', 'moving', 'gstreamer', 'hang', 'die', 'end'] as const;
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

/** Letters, digits and marks that may follow `/dev/`: nothing that a pipeline could read as syntax. */
const DEVICE = /^\/dev\/(?:video\d{1,3}|v4l\/by-(?:id|path)\/[A-Za-z0-9][A-Za-z0-9:._+-]{0,254})$/;
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

function parseDevice(device: string, shown: string): CaptureAddress {
  if (!DEVICE.test(device)) throw invalid(shown, 'a device is /dev/videoN or a link in /dev/v4l/by-id or by-path');
  return { kind: 'v4l2', device };
}

function strictUrl(address: string, shown: string): string {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw invalid(shown, 'it is not a valid URL');
  }
  if (!/^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])$/.test(url.hostname))
    throw invalid(shown, 'its host name is not valid');
  url.hash = '';
  // What WHATWG URLs leave as it is but a pipeline might read: quotes, `!`, `\`, `|`, spaces …
  return url.href.replace(/[^A-Za-z0-9\-._~:/?[\]@$&()*+,;=%]/gu, (character) =>
    [...new TextEncoder().encode(character)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  );
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

/** Parts of an address that no log or message may show, longest first. */
export function secretsOf(address: string): string[] {
  const secrets = new Set<string>();
  const add = (value: string | undefined) => {
    if (value === undefined || value === '') return;
    secrets.add(value);
    try {
      secrets.add(decodeURIComponent(value));
    } catch {
      // not percent-encoded
    }
    secrets.add(encodeURIComponent(value));
  };
  const userInfo = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/([^/]*)@/.exec(address)?.[1];
  if (userInfo !== undefined) {
    add(userInfo);
    add(userInfo.slice(userInfo.indexOf(':') + 1));
  }
  if (/^(?:https?|rtsps?):/i.test(address)) {
    for (const pair of (/\?(.*)$/s.exec(address)?.[1] ?? '').split('&')) {
      const value = pair.slice(pair.indexOf('=') + 1);
      if (value.length >= 4) add(value);
    }
  }
  return [...secrets].sort((a, b) => b.length - a.length);
}

/** The address without user name, password and the values of a query. Works on invalid addresses as well. */
export function redactAddress(address: string): string {
  let shown = address.replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/)(?:[^/]*)@/, '$1***@');
  if (/^(?:https?|rtsps?):/i.test(shown)) {
    shown = shown.replace(/\?.*$/s, (query) => query.replace(/=[^&]*/g, '=***'));
  }
  return shown;
}

/** For texts that others write (OpenCV, FFmpeg, the system): takes the secrets of this address out of them. */
export function redactText(text: string, secrets: readonly string[]): string {
  let shown = text.replace(/([A-Za-z][A-Za-z0-9+.-]*:\/\/)[^/\s"']*@/g, '$1***@');
  for (const secret of secrets) shown = shown.replaceAll(secret, '***');
  return shown;
}
