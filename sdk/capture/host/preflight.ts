/**
 * OpenCV says no more than "could not open". So the host looks first, with the means of the system, and can say what is
 * wrong and what to do. Messages name the address as the caller may show it (`shown`).
 */
import { open, stat } from 'node:fs/promises';
import { SdkError } from '../../core/errors.js';
import type { CaptureAddress } from '../address.js';
import type { NativeVideoDevice } from './capture-addon.js';
import { checkHttp, checkRtsp } from './network-preflight.js';
import type { ResolvedAddress } from './plan.js';

export interface PreflightTools {
  readonly probeVideoDevice: (path: string) => NativeVideoDevice;
  /** Longest wait for a server. */
  readonly timeoutMs: number;
}

/** @throws SdkError ERR_CAPTURE_NOT_FOUND, ERR_CAPTURE_REFUSED, ERR_CAPTURE_UNSUPPORTED or ERR_CAPTURE_TIMEOUT. */
export async function resolveAddress(
  address: CaptureAddress,
  loop: boolean | undefined,
  tools: PreflightTools,
): Promise<ResolvedAddress> {
  switch (address.kind) {
    case 'path':
      return resolvePath(address.path, loop ?? address.loop ?? false);
    case 'v4l2':
      checkDevice(address.device, tools.probeVideoDevice(address.device));
      return address;
    case 'rtsp':
      await checkRtsp(address.url, tools.timeoutMs);
      return address;
    case 'http':
      await checkHttp(address.url, tools.timeoutMs);
      return address;
    default:
      return address;
  }
}

async function resolvePath(path: string, loop: boolean): Promise<ResolvedAddress> {
  try {
    const status = await stat(path);
    if (status.isDirectory()) return { kind: 'images', path, loop };
    if (!status.isFile()) {
      throw new SdkError(
        'ERR_CAPTURE_UNSUPPORTED',
        `Expected a video file or a folder of pictures, but ${path} is neither. For a camera write /dev/video0.`,
      );
    }
    if (status.size === 0) {
      throw new SdkError('ERR_CAPTURE_UNSUPPORTED', `Expected a video file, but ${path} is empty. Copy it again.`);
    }
    await (await open(path, 'r')).close();
    return { kind: 'file', path, loop };
  } catch (cause) {
    if (cause instanceof SdkError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'EACCES' || code === 'EPERM') {
      throw new SdkError(
        'ERR_CAPTURE_REFUSED',
        `Expected a readable file, but ${path} may not be read. Check its rights.`,
        {
          cause,
        },
      );
    }
    throw new SdkError(
      'ERR_CAPTURE_NOT_FOUND',
      `Expected a video file or a folder of pictures, but there is nothing at ${path}. Check the path.`,
      { cause },
    );
  }
}

export function checkDevice(device: string, found: NativeVideoDevice): void {
  switch (found.state) {
    case 'ready':
      return;
    case 'missing':
      throw new SdkError(
        'ERR_CAPTURE_NOT_FOUND',
        `Expected a camera at ${device}, but there is none. Plug it in, or look for its number with: ls /dev/video* (in a container, pass it in with --device ${device}).`,
      );
    case 'denied':
      throw new SdkError(
        'ERR_CAPTURE_REFUSED',
        `Expected access to ${device}, but it was denied. Add this user to the group "video" (sudo usermod -aG video $USER) and log in again.`,
      );
    case 'busy':
      throw new SdkError(
        'ERR_CAPTURE_REFUSED',
        `Expected ${device} to be free, but another program uses it. Close it.`,
      );
    case 'noCapture':
      throw new SdkError(
        'ERR_CAPTURE_UNSUPPORTED',
        `Expected a device that captures video, but ${device} (${found.card}) only carries metadata or output. Cameras often have two: try the number below.`,
      );
    case 'notVideo':
      throw new SdkError('ERR_CAPTURE_UNSUPPORTED', `Expected a V4L2 video device, but ${device} is something else.`);
    case 'failed':
      throw new SdkError('ERR_CAPTURE_LOST', `Expected to open ${device}, but the system says: ${found.message}.`);
  }
}
