import { z } from 'zod';
import { SdkError } from '../core/errors.js';
import { redactingLogger, registerSecret } from '../core/redaction.js';
import { type CaptureAddress, parseAddress, redactAddress, secretsOf } from './address.js';
import type { Camera, CameraKind } from './camera.js';
import { FailedCamera } from './failed-camera.js';
import { ManagedCamera } from './managed-camera.js';
import { type CameraOptions, type CameraSettings, cameraOptionsSchema } from './options.js';

let opened = 0;

/**
 * Opens a camera or anything that OpenCV can play like one, and waits for its first frame.
 *
 * | address | source |
 * |---|---|
 * | `0`, `/dev/video0`, `v4l2:/dev/v4l/by-id/…`, `/dev/camera_front` | camera of this machine, or a link to it |
 * | `csi:0` | CSI camera of a Jetson (OpenCV with GStreamer) |
 * | `rtsp://user:password@host/path`, `rtsps://…` | network camera |
 * | `http://host/stream.mjpg`, `https://…` | MJPEG and other streams; single pictures, polled |
 * | `clip.mp4`, `file:clip.mp4?loop` | video in real time, once or in a loop |
 * | a folder | its pictures in order of their names, two a second unless `fps` says otherwise |
 * | `test:checker`, `test:moving`, `test:clock`, `test:gstreamer` | built-in patterns |
 *
 * @throws SdkError ERR_CAPTURE_ADDRESS_INVALID, ERR_ARGUMENT_INVALID; ERR_CAPTURE_NOT_FOUND, _REFUSED, _UNSUPPORTED,
 *   _TIMEOUT, _LOST or _HOST_DIED when there is no first frame; ERR_NATIVE_UNAVAILABLE without OpenCV; `signal.reason`.
 *   With `requireFirstFrame: false` all of these, and a wrong address, are the `failed` or `reopening` camera's status.
 *
 * @example
 * await using camera = await openCamera('0', { size: { width: 1280, height: 720 } });
 * const frame = await camera.read(); // { width, height, format: 'bgr8', data, … }
 */
export async function openCamera(address: string, options: CameraOptions = {}): Promise<Camera> {
  const { logger, signal, ...rest } = options;
  signal?.throwIfAborted();
  const settings = cameraOptionsSchema.safeParse(rest);
  if (!settings.success) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected options for a camera:\n${z.prettifyError(settings.error)}`, {
      cause: settings.error,
    });
  }
  const id = settings.data.id ?? `cam${opened++}`;
  const forget = secretsOf(String(address)).map(registerSecret);
  const forgetSecrets = () => {
    for (const one of forget) one();
  };
  let camera: ManagedCamera;
  try {
    const parsed = parseAddress(address);
    requireFittingOptions(parsed, settings.data);
    camera = new ManagedCamera({
      id,
      address,
      parsed,
      settings: Object.freeze(settings.data),
      logger: logger && redactingLogger(logger),
      onClosed: forgetSecrets,
    });
  } catch (error) {
    if (settings.data.requireFirstFrame || !(error instanceof SdkError)) throw error;
    // A service goes on with its other cameras. The secrets stay known: the error may be shown for as long as it runs.
    logger?.log('error', error.message, { camera: id });
    return new FailedCamera({ id, address: redactAddress(String(address)), kind: kindOf(address) }, error);
  }
  const onAbort = () => void camera[Symbol.asyncDispose]();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const firstFrame = camera.start();
    if (settings.data.requireFirstFrame) await firstFrame;
    return camera;
  } catch (error) {
    await camera[Symbol.asyncDispose]();
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** What would be read and not honoured. @throws SdkError ERR_ARGUMENT_INVALID */
function requireFittingOptions(parsed: CaptureAddress, settings: CameraSettings): void {
  const isTls = 'url' in parsed && /^(?:https|rtsps):/i.test(parsed.url);
  if (settings.tls !== undefined && !isTls) {
    throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected `tls` only for an https:// or rtsps:// camera.');
  }
  if (settings.snapshotIntervalMs !== undefined && parsed.kind !== 'http') {
    throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected `snapshotIntervalMs` only for an http:// or https:// camera.');
  }
}

/** Of an address that could not be read as one. */
function kindOf(address: string): CameraKind {
  const scheme = /^[a-z0-9]+/i.exec(String(address))?.[0].toLowerCase() ?? '';
  if (scheme.startsWith('rtsp')) return 'rtsp';
  if (scheme.startsWith('http')) return 'http';
  return scheme === 'csi' || scheme === 'test' ? scheme : scheme === 'file' ? 'file' : 'v4l2';
}
