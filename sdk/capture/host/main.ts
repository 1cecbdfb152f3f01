/**
 * The capture host: a process that may be killed, because OpenCV reads can block forever. It loads the capture addon,
 * opens one source, and writes its frames into shared memory until it is told to stop or its parent is gone.
 */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ERROR_CODES, type ErrorCode, SdkError } from '../../core/errors.js';
import { captureAddon } from '../../native/index.js';
import type { CameraSettings } from '../options.js';
import type { NativeCaptureConfig, NativeCaptureEvent } from './capture-addon.js';
import { explainFailure } from './explain.js';
import { httpGet, readBody } from './http-request.js';
import { type Look, look } from './network-look.js';
import { type Orientation, readFileOrientation, readOrientation } from './orientation.js';
import { playFolder, pollSnapshots } from './picture-sources.js';
import {
  type CapturePlan,
  type CaptureSupport,
  planCapture,
  type ResolvedAddress,
  withoutMissingElements,
} from './plan.js';
import { DOORBELL_FD, type FromHost, type StartMessage, type ToHost } from './protocol.js';
import { resolveAddress } from './resolve.js';
import { isTlsUrl, openTlsRelay, type TlsRelay } from './tls-relay.js';

/** Time for OpenCV to release a device before the process goes without. */
const RELEASE_MS = 1000;
/** A camera with one place frees it some time after the client has left. */
const BEFORE_LOOK_MS = 500;
const LOOK_TIMEOUT_MS = 5000;
const SNAPSHOT_INTERVAL_MS = 1000;

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
  const message = error instanceof Error ? error.message : String(error);
  const details = error instanceof SdkError ? error.details : {};
  send({ type: 'failed', code: codeOf(error), message, details, openFailure });
}

/** Errors of the addon carry a code of the table as a plain property. */
function codeOf(error: unknown): ErrorCode {
  const { code } = error as { readonly code?: unknown };
  return typeof code === 'string' && Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'ERR_CAPTURE_LOST';
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

/** What is being opened, for those who have to explain its end. */
interface Job {
  readonly message: StartMessage;
  readonly address: ResolvedAddress;
  readonly plan: CapturePlan;
  readonly relay: TlsRelay | undefined;
}

async function start(message: StartMessage): Promise<void> {
  const addon = captureAddon();
  addon.removeStaleRings();
  const { settings } = message;
  const address = await resolveAddress(message.address, settings.loop, {
    probeVideoDevice: (path) => addon.probeVideoDevice(path),
  });
  const isSnapshot = address.kind === 'http' && (message.isSnapshot || settings.snapshotIntervalMs !== undefined);
  const needsRelay = 'url' in address && isTlsUrl(address.url) && !isSnapshot;
  const relay = needsRelay ? await openTlsRelay(address.url, settings.tls) : undefined;
  const orientation = isSnapshot ? undefined : await orientationOf(address, settings);
  if (stopping) return;
  // GStreamer and sharp each bring a GLib of their own, and must not meet in one process.
  const isFed = isSnapshot || address.kind === 'images';
  const support = isFed ? NO_OPENCV : readSupport();
  const plan = planCapture(address, settings, support, { orientation, relayUrl: relay?.url, isFed });
  const job: Job = { message, address, relay, plan };
  if (isFed) return feed(job);
  startOpenCv({ ...job, plan: withoutMissingElements(plan, (names) => addon.missingGstElements(names)) });
}

/** Of a file, also of one that a web server holds: those serve several clients, unlike cameras. */
async function orientationOf(address: ResolvedAddress, settings: CameraSettings): Promise<Orientation | undefined> {
  if (address.kind === 'file') return readFileOrientation(address.path);
  if (address.kind !== 'http' || !/\.(?:mp4|m4v|mov|3gp)$/i.test(new URL(address.url).pathname)) return undefined;
  const { tls, openTimeoutMs } = settings;
  const timeoutMs = Math.min(openTimeoutMs / 4, LOOK_TIMEOUT_MS);
  try {
    return await readOrientation(async (offset, length) => {
      const headers = { range: `bytes=${offset}-${offset + length - 1}` };
      const response = await httpGet(address.url, { tls, timeoutMs, headers });
      if (response.statusCode === 206) return readBody(response, length);
      response.destroy();
      return Buffer.alloc(0);
    });
  } catch {
    return undefined; // OpenCV will find out what is wrong with it
  }
}

const NO_OPENCV: CaptureSupport = {
  openCvVersion: '',
  gstreamer: false,
  ffmpeg: false,
  v4l2: false,
  gstreamerH264: false,
  jetson: false,
};

function startOpenCv(job: Job): void {
  const { message, address, plan } = job;
  const attempts = plan.source.kind === 'video' ? plan.source.attempts : [undefined];
  const { loop } = plan.options;
  send({ type: 'planned', kind: address.kind, loop, isSnapshot: false, attempts: attempts.length });
  const attempt = attempts[message.attempt];
  const source = attempt && plan.source.kind === 'video' ? { ...plan.source, attempts: [attempt] } : plan.source;
  // Node writes these through to the C environment, where OpenCV looks for them.
  process.env.OPENCV_FFMPEG_CAPTURE_OPTIONS = plan.ffmpegOptions;
  session = captureAddon().startCapture(nativeConfig(job, source), (event) => onEvent(event, job));
}

function nativeConfig({ message, plan }: Job, source: CapturePlan['source']): NativeCaptureConfig {
  const { firstSequence, frozenHash, clipHash } = message;
  return { ...source, ...plan.options, firstSequence, frozenHash, clipHash, doorbellFd: DOORBELL_FD };
}

/** Pictures that are decoded here: OpenCV's own decoders see others than `decodeImage` does. */
async function feed(job: Job): Promise<void> {
  const { message, address, plan } = job;
  const { settings } = message;
  const { loop } = plan.options;
  const isSnapshot = address.kind === 'http';
  send({ type: 'planned', kind: address.kind, loop, isSnapshot, attempts: message.attempt + 1 });
  const stop = new AbortController();
  const native = captureAddon().openFeed(nativeConfig(job, { kind: 'feed' }), (event) => onEvent(event, job));
  session = { stop: () => stop.abort() };
  const sink = {
    push: native.push,
    beat: native.beat,
    warn: (text: string) => send({ type: 'warning', message: text }),
  };
  const { signal } = stop;
  try {
    if (address.kind === 'images') {
      await playFolder(address.path, sink, { fps: plan.options.fps, loop, signal });
    } else if (address.kind === 'http') {
      const intervalMs = settings.snapshotIntervalMs ?? SNAPSHOT_INTERVAL_MS;
      await pollSnapshots(address.url, sink, { intervalMs, timeoutMs: settings.timeoutMs, tls: settings.tls, signal });
    }
    finished = true;
    native.end();
    send({ type: 'ended', clipHash: '' });
  } catch (error) {
    if (stopping) return exit();
    finished = true;
    sendFailure(error);
  }
}

function onEvent(event: NativeCaptureEvent, job: Job): void {
  switch (event.type) {
    case 'ring': {
      const { width, height, framesPerSecond, isPaced, backend } = event;
      send({ type: 'ring', name: event.ringName, width, height, framesPerSecond, isPaced, backend });
      return;
    }
    case 'warning':
      send({ type: 'warning', message: event.message });
      return;
    case 'frozen':
      send({ type: 'frozen', pictureHash: event.pictureHash });
      return;
    case 'moving':
      send({ type: 'moving' });
      return;
    case 'ended':
      finished = true;
      // And wait for `stop`: the last frame's ring may not have been taken yet.
      send({ type: 'ended', clipHash: event.pictureHash });
      return;
    case 'failed':
      finished = true;
      explain(event, job).catch((error: unknown) => sendFailure(error));
      return;
    case 'stopped':
      exit();
      return;
  }
}

/** What to say about a failure; or, if the address turns out to be one of single pictures, another start. */
async function explain(event: NativeCaptureEvent, job: Job): Promise<void> {
  const { message, address, plan, relay } = job;
  const isOpening = plan.source.kind === 'video' && event.code === 'ERR_CAPTURE_UNSUPPORTED';
  const failures = isOpening ? [...message.earlierFailures, event.message].join('; ') : event.message;
  const error = explainFailure({ ...event, message: failures }, address, plan);
  // A stream that ran says nothing about its address by breaking off; a single picture does so at once.
  const seen: Look = event.frames > 1 ? {} : await lookInto(job);
  if (stopping) return;
  if (seen.isSnapshot === true) {
    send({ type: 'warning', message: 'the address returns single pictures: it is polled' });
    // Another host does so, see `start`.
    send({ type: 'planned', kind: 'http', loop: false, isSnapshot: true, attempts: message.attempt + 2 });
    return sendFailure(error, 'it gives single pictures');
  }
  const better = relay?.failure ?? seen.error;
  const isFinal = relay?.failure !== undefined || seen.isFinal === true;
  sendFailure((isOpening && better) || error, isOpening && !isFinal ? event.message : undefined);
}

async function lookInto({ message, address, relay }: Job): Promise<Look> {
  if (!message.mayLook || (address.kind !== 'rtsp' && address.kind !== 'http')) return {};
  if (relay?.failure !== undefined) return {};
  await sleep(BEFORE_LOOK_MS);
  const timeoutMs = Math.min(message.settings.openTimeoutMs, LOOK_TIMEOUT_MS);
  return look(address.kind, address.url, { timeoutMs, tls: message.settings.tls });
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
