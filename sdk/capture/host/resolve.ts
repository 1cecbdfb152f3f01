/**
 * OpenCV says no more than "could not open". So files and devices are looked at first, with the means of the system, to
 * say what is wrong and what to do.
 */
import { open, realpath, stat } from 'node:fs/promises';
import { SdkError } from '../../core/errors.js';
import type { CaptureAddress } from '../address.js';
import type { NativeVideoDevice } from './capture-addon.js';
import type { ResolvedAddress } from './plan.js';

export interface ResolveTools {
  readonly probeVideoDevice: (path: string) => NativeVideoDevice;
  /** Where links lead; `fs.realpath` when left out. */
  readonly realpath?: ((path: string) => Promise<string>) | undefined;
}

/** @throws SdkError ERR_CAPTURE_NOT_FOUND, ERR_CAPTURE_REFUSED or ERR_CAPTURE_UNSUPPORTED. */
export async function resolveAddress(
  address: CaptureAddress,
  loop: boolean | undefined,
  tools: ResolveTools,
): Promise<ResolvedAddress> {
  switch (address.kind) {
    case 'path':
      return resolvePath(address.path, loop ?? address.loop ?? false);
    case 'v4l2':
      checkDevice(address.device, tools.probeVideoDevice(address.device));
      return resolveDevice(address.device, tools.realpath ?? realpath);
    default:
      return address;
  }
}

/**
 * Links (`/dev/v4l/by-id/…`, those of udev rules) lead to another number after every start: followed now. OpenCV opens
 * V4L2 devices by their numbers only.
 */
async function resolveDevice(device: string, follow: (path: string) => Promise<string>): Promise<ResolvedAddress> {
  const target = await follow(device).catch(() => device);
  if (/^\/dev\/video\d{1,3}$/.test(target)) return { kind: 'v4l2', device: target };
  throw new SdkError(
    'ERR_CAPTURE_UNSUPPORTED',
    `Expected ${device} to lead to a /dev/videoN, but it leads to ${target}. See what it is with: ls -l ${device}`,
  );
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

/** @throws SdkError ERR_CAPTURE_… with what to do, unless the video device can be opened */
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
