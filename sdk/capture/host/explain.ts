/** OpenCV's few words turned into an error that says what to do, by kind of source. */
import { ERROR_CODES, type ErrorCode, SdkError } from '../../core/errors.js';
import { redactAddress } from '../address.js';
import type { NativeCaptureEvent } from './capture-addon.js';
import type { CapturePlan, ResolvedAddress } from './plan.js';

/** What happened and what to do about it, for a failure that the addon reports with a code and a reason. */
export function explainFailure(event: NativeCaptureEvent, address: ResolvedAddress, plan: CapturePlan): SdkError {
  const code: ErrorCode = event.code in ERROR_CODES ? (event.code as ErrorCode) : 'ERR_CAPTURE_LOST';
  const details = { reason: event.message };
  if (code === 'ERR_LIMIT_EXCEEDED') {
    return new SdkError(
      code,
      `Expected room for ${plan.options.ringSlots} frames in shared memory (/dev/shm), but it is full. In a container start it with --shm-size=256m; or ask for a smaller size or fewer ringSlots.`,
      { details },
    );
  }
  if (code === 'ERR_CAPTURE_UNSUPPORTED') return unsupported(event.message, address, details);
  if (code === 'ERR_CAPTURE_LOST') {
    return new SdkError(code, `Expected more frames from ${nameOf(address)}, but ${event.message}.`, { details });
  }
  return new SdkError(code, `Cannot read ${nameOf(address)}: ${event.message}.`, { details });
}

function unsupported(reason: string, address: ResolvedAddress, details: { reason: string }): SdkError {
  const name = nameOf(address);
  switch (address.kind) {
    case 'file':
      return new SdkError(
        'ERR_CAPTURE_UNSUPPORTED',
        `Expected a video that this OpenCV can decode, but ${name} is none, is damaged, or has an unknown codec (${reason}). Convert it: ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p OUTPUT.mp4`,
        { details },
      );
    case 'rtsp':
      // The server has answered before; a camera that is starting or out of sessions looks the same.
      return new SdkError(
        'ERR_CAPTURE_REFUSED',
        `Expected a video from ${name}, but it could not be opened (${reason}). Check user name, password and path, and that its codec is H.264, H.265 or MJPEG.`,
        { details },
      );
    case 'http':
      return new SdkError(
        'ERR_CAPTURE_UNSUPPORTED',
        `Expected a video stream at ${name}, but OpenCV could not decode it (${reason}). MJPEG, MPEG-TS, HLS and MP4 work; in MJPEG only parts of type image/jpeg, each behind a line that begins with "--".`,
        { details },
      );
    case 'csi':
      return new SdkError(
        'ERR_CAPTURE_NOT_FOUND',
        `Expected a CSI camera, but ${name} could not be opened (${reason}). Check the ribbon cable and the device tree, and on a Jetson restart its daemon: sudo systemctl restart nvargus-daemon`,
        { details },
      );
    case 'v4l2':
      return new SdkError(
        'ERR_CAPTURE_REFUSED',
        `Expected pictures from ${name}, but it gave none (${reason}). Another program may hold it (fuser ${name}), or it knows no such size: leave size and fps out.`,
        { details },
      );
    default:
      return new SdkError('ERR_CAPTURE_UNSUPPORTED', `Cannot open ${name}: ${reason}.`, { details });
  }
}

function nameOf(address: ResolvedAddress): string {
  switch (address.kind) {
    case 'v4l2':
      return address.device;
    case 'csi':
      return `csi:${address.sensor}`;
    case 'rtsp':
    case 'http':
      return redactAddress(address.url);
    case 'file':
    case 'images':
      return address.path;
    case 'test':
      return `test:${address.pattern}`;
  }
}
