import { z } from 'zod';
import { SdkError } from '../core/errors.js';
import { parseAddress } from './address.js';
import type { Camera } from './camera.js';
import { ManagedCamera } from './managed-camera.js';
import { type CameraOptions, cameraOptionsSchema } from './options.js';

let opened = 0;

/**
 * Opens a camera or anything that OpenCV can play like one, and waits for its first frame.
 *
 * | address | source |
 * |---|---|
 * | `0`, `/dev/video0`, `v4l2:/dev/v4l/by-id/…` | camera of this machine |
 * | `csi:0` | CSI camera of a Jetson (OpenCV with GStreamer) |
 * | `rtsp://user:password@host/path`, `rtsps://…` | network camera |
 * | `http://host/stream.mjpg`, `https://…` | MJPEG and other streams |
 * | `clip.mp4`, `file:clip.mp4?loop` | video in real time, once or again and again |
 * | a folder | its pictures in order of their names, two a second unless `fps` says otherwise |
 * | `test:checker`, `test:moving`, `test:gstreamer` | built-in patterns |
 *
 * @throws SdkError ERR_CAPTURE_ADDRESS_INVALID, ERR_ARGUMENT_INVALID; ERR_CAPTURE_NOT_FOUND, _REFUSED, _UNSUPPORTED,
 *   _TIMEOUT, _LOST or _HOST_DIED when there is no first frame; ERR_NATIVE_UNAVAILABLE without OpenCV; `signal.reason`.
 *
 * @example
 * await using camera = await openCamera('0', { size: { width: 1280, height: 720 } });
 * const frame = await camera.read(); // { width, height, format: 'bgr8', data, … }
 */
export async function openCamera(address: string, options: CameraOptions = {}): Promise<Camera> {
  const { logger, signal, ...rest } = options;
  signal?.throwIfAborted();
  const parsed = parseAddress(address);
  const settings = cameraOptionsSchema.safeParse(rest);
  if (!settings.success) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected options for a camera:\n${z.prettifyError(settings.error)}`, {
      cause: settings.error,
    });
  }
  const id = settings.data.id ?? `cam${opened++}`;
  const camera = new ManagedCamera({ id, address, parsed, settings: Object.freeze(settings.data), logger });
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
