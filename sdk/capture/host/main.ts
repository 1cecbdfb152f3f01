/**
 * The capture host: a process that may be killed, because OpenCV reads can block for ever. It loads the capture addon,
 * opens one source, and writes its frames into shared memory until it is told to stop or its parent is gone.
 */
import { existsSync, readFileSync } from 'node:fs';
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { captureAddon } from '../../native/index.js';
import type { NativeCaptureEvent } from './capture-addon.js';
import { explainFailure } from './explain.js';
import {
  type CapturePlan,
  type CaptureSupport,
  planCapture,
  type ResolvedAddress,
  withoutMissingElements,
} from './plan.js';
import { resolveAddress } from './preflight.js';
import { DOORBELL_FD, type FromHost, type StartMessage, type ToHost } from './protocol.js';

/** Time for OpenCV to release a device before the process goes without. */
const RELEASE_MS = 1000;

/** GStreamer's decoders: Jetson, VA-API, V4L2 codecs, FFmpeg, OpenH264, NVIDIA, Intel. */
const H264_DECODERS = [
  'nvv4l2decoder',
  'vah264dec',
  'vaapih264dec',
  'v4l2h264dec',
  'avdec_h264',
  'openh264dec',
  'nvh264dec',
  'qsvh264dec',
  'msdkh264dec',
];

let session: { stop(): void } | undefined;
/** The capture thread is done; `session` still holds the ring for a reader to take. */
let finished = false;
let stopping = false;

function send(message: FromHost): void {
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}

function sendFailure(error: unknown, openFailure?: string): void {
  const code = error instanceof SdkError ? error.code : 'ERR_CAPTURE_LOST';
  send({ type: 'failed', code, message: error instanceof Error ? error.message : String(error), openFailure });
}

function exit(): void {
  try {
    captureAddon().exitNow(0);
  } catch {
    process.exit(0); // without the addon there is no thread to fear either
  }
}

function shutDown(): void {
  if (stopping) return;
  stopping = true;
  if (!session || finished) {
    exit();
    return;
  }
  session.stop();
  setTimeout(exit, RELEASE_MS);
}

function readSupport(): CaptureSupport {
  const build = captureAddon().openCvBuild();
  const has = (line: RegExp, backend: string) => line.test(build.information) && build.backends.includes(backend);
  return {
    openCvVersion: build.version,
    gstreamer: has(/GStreamer:\s+YES/i, 'GSTREAMER'),
    ffmpeg: has(/FFMPEG:\s+YES/i, 'FFMPEG'),
    v4l2: build.backends.includes('V4L2'),
    gstreamerH264: captureAddon().missingGstElements(H264_DECODERS).length < H264_DECODERS.length,
    jetson: isJetson(),
  };
}

function isJetson(): boolean {
  if (existsSync('/etc/nv_tegra_release')) return true;
  try {
    return readFileSync('/proc/device-tree/compatible', 'latin1').includes('nvidia,tegra');
  } catch {
    return false;
  }
}

async function start(message: StartMessage): Promise<void> {
  const addon = captureAddon();
  addon.removeStaleRings();
  const support = readSupport();
  const address = await resolveAddress(message.address, message.settings.loop, {
    probeVideoDevice: (path) => addon.probeVideoDevice(path),
    timeoutMs: Math.min(message.settings.openTimeoutMs, 10_000),
  });
  if (stopping) return;
  const plan = withoutMissingElements(planCapture(address, message.settings, support), (names) =>
    addon.missingGstElements(names),
  );
  const attempts = plan.source.kind === 'video' ? plan.source.attempts : [undefined];
  send({ type: 'planned', kind: address.kind, loop: plan.options.loop, attempts: attempts.length });
  const attempt = attempts[message.attempt];
  const source = attempt && plan.source.kind === 'video' ? { ...plan.source, attempts: [attempt] } : plan.source;
  // Node writes these through to the C environment, where OpenCV looks for them.
  process.env.OPENCV_FFMPEG_CAPTURE_OPTIONS = plan.ffmpegOptions;
  process.env.OPENCV_IO_MAX_IMAGE_PIXELS = String(LIMITS.imagePixels);
  session = addon.startCapture(
    { ...source, ...plan.options, firstSequence: message.firstSequence, doorbellFd: DOORBELL_FD },
    (event) => onEvent(event, address, plan, message.earlierFailures),
  );
}

function onEvent(
  event: NativeCaptureEvent,
  address: ResolvedAddress,
  plan: CapturePlan,
  earlierFailures: readonly string[],
): void {
  switch (event.type) {
    case 'ring': {
      const { width, height, framesPerSecond, backend } = event;
      send({ type: 'ring', name: event.ringName, width, height, framesPerSecond, backend });
      return;
    }
    case 'warning':
      send({ type: 'warning', message: event.message });
      return;
    case 'ended':
      finished = true;
      send({ type: 'ended' }); // and wait for `stop`: the last frame's ring may not have been taken yet
      return;
    case 'failed':
      finished = true;
      sendFailure(
        explainFailure({ ...event, message: [...earlierFailures, event.message].join('; ') }, address, plan),
        plan.source.kind === 'video' && event.code === 'ERR_CAPTURE_UNSUPPORTED' ? event.message : undefined,
      );
      return;
    case 'stopped':
      exit();
      return;
  }
}

function onMessage(message: ToHost): void {
  switch (message.type) {
    case 'start':
      start(message).catch((error: unknown) => sendFailure(error));
      return;
    case 'stop':
      shutDown();
      return;
  }
}

if (process.send) {
  process.on('message', onMessage);
  process.on('disconnect', shutDown);
  process.on('SIGTERM', shutDown);
  process.on('SIGINT', () => {}); // Ctrl-C reaches the whole group; the parent decides when to stop
  try {
    captureAddon().followParent();
  } catch {
    // reported when something is asked of it
  }
} else {
  console.error('This is the capture host of SceneBus; it is started by openCamera().');
  process.exitCode = 2;
}
