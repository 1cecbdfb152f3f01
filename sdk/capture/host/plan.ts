/** From an address to what OpenCV is asked to open: pure, so that every pipeline can be tested without a camera. */
import { SdkError } from '../../core/errors.js';
import type { CaptureAddress } from '../address.js';
import type { CameraSettings } from '../options.js';
import type { NativeCaptureOptions, NativeCaptureSource, OpenAttempt } from './capture-addon.js';
import { type Orientation, UPRIGHT } from './orientation.js';

/** What this machine's OpenCV can open. */
export interface CaptureSupport {
  readonly openCvVersion: string;
  readonly gstreamer: boolean;
  readonly ffmpeg: boolean;
  readonly v4l2: boolean;
  /** GStreamer has some decoder for H.264; Debian's base and good plugins have none. */
  readonly gstreamerH264: boolean;
  readonly jetson: boolean;
}

/** What an address turned out to be, once the file system has been asked. */
export type ResolvedAddress =
  | Exclude<CaptureAddress, { kind: 'path' }>
  | { readonly kind: 'file' | 'images'; readonly path: string; readonly loop: boolean };

/** What was found out about the source before it is opened. */
export interface PlanFacts {
  /** What the file says of its pictures; undefined when it cannot be asked. */
  readonly orientation?: Orientation | undefined;
  /** Instead of the address's own, see tls-relay.ts. */
  readonly relayUrl?: string | undefined;
  /** Its pictures are decoded here, not by OpenCV. */
  readonly isFed?: boolean | undefined;
}

export interface CapturePlan {
  readonly source: NativeCaptureSource;
  readonly options: NativeCaptureOptions;
  /** OPENCV_FFMPEG_CAPTURE_OPTIONS: `key;value|key;value`. Also keeps playlists from opening other kinds of things. */
  readonly ffmpegOptions: string;
}

/** Newest frame only; OpenCV takes BGR from it. */
const LIVE_SINK = 'videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false';
const FILE_SINK = 'videoconvert ! video/x-raw,format=BGR ! appsink drop=false max-buffers=2 sync=false';

export function planCapture(
  given: ResolvedAddress,
  settings: CameraSettings,
  support: CaptureSupport,
  facts: PlanFacts = {},
): CapturePlan {
  const { orientation, relayUrl, isFed = false } = facts;
  const address = relayUrl !== undefined && 'url' in given ? { ...given, url: relayUrl } : given;
  // First as the file says, then as the caller does.
  const { mirror, rotation: ofFile } = orientation ?? UPRIGHT;
  const rotation = (ofFile + settings.rotation) % 360;
  const isTurned = rotation % 180 !== 0;
  const size = settings.size;
  const width = (isTurned ? size?.height : size?.width) ?? 0;
  const height = (isTurned ? size?.width : size?.height) ?? 0;
  const request = { width, height, fps: settings.fps ?? (given.kind === 'images' ? FOLDER_FPS : 0) };
  const isLive = given.kind !== 'file' && given.kind !== 'images';
  return {
    source: isFed
      ? { kind: 'feed' }
      : planSource(
          address,
          relayUrl === undefined ? settings : { ...settings, rtspTransport: 'tcp' },
          support,
          request,
        ),
    options: {
      ...request,
      loop: 'loop' in address && address.loop,
      hasOrientation: orientation !== undefined,
      mirror,
      rotation,
      ringSlots: settings.ringSlots,
      openTimeoutMs: settings.openTimeoutMs,
      readTimeoutMs: settings.timeoutMs,
      frozenAfterMs: isLive ? settings.frozenTimeoutMs : 0,
    },
    ffmpegOptions: ffmpegOptions(address, settings, relayUrl !== undefined),
  };
}

/** Pictures of a folder a second, when nobody says. */
const FOLDER_FPS = 2;

interface Request {
  readonly width: number;
  readonly height: number;
  readonly fps: number;
}

function planSource(
  address: ResolvedAddress,
  settings: CameraSettings,
  support: CaptureSupport,
  request: Request,
): NativeCaptureSource {
  switch (address.kind) {
    case 'images':
      return { kind: 'feed' };
    case 'test':
      if (address.pattern !== 'gstreamer') {
        return { kind: 'test', pattern: address.pattern, patternFrames: address.frames };
      }
      return video(choose(settings, support, { gstreamer: [testPipeline(request)] }, 'test:gstreamer'), {});
    case 'csi':
      return video(
        choose(settings, support, { gstreamer: [csiPipeline(address.sensor, request)] }, 'a CSI camera'),
        {},
      );
    case 'v4l2': {
      const index = /^\/dev\/video(\d+)$/.exec(address.device)?.[1];
      const v4l2: OpenAttempt = {
        backend: 'V4L2',
        target: address.device,
        deviceIndex: index === undefined ? -1 : Number(index),
        requestFormat: true,
      };
      const gstreamer = [v4l2MjpegPipeline(address.device, request), v4l2AnyPipeline(address.device)];
      return video(choose(settings, support, { v4l2: [v4l2], gstreamer }, 'a V4L2 camera'), {});
    }
    case 'rtsp': {
      const pipelines = rtspPipelines(address.url, settings, support.jetson);
      // GStreamer first where it can decode what cameras send (on a Jetson in hardware), FFmpeg first where not.
      const ways = support.gstreamerH264
        ? { gstreamer: pipelines, ffmpeg: [ffmpeg(address.url)] }
        : { ffmpeg: [ffmpeg(address.url)], gstreamer: pipelines };
      const attempts = choose(settings, support, ways, 'RTSP');
      return video(attempts, {});
    }
    case 'http': {
      const pipeline = `souphttpsrc location="${address.url}" is-live=true ! decodebin ! ${LIVE_SINK}`;
      const attempts = choose(settings, support, { ffmpeg: [ffmpeg(address.url)], gstreamer: [pipeline] }, 'HTTP');
      return video(attempts, { mayBeFile: true });
    }
    case 'file': {
      const pipeline = `filesrc location=${quoteForPipeline(address.path)} ! decodebin ! ${FILE_SINK}`;
      const attempts = choose(
        settings,
        support,
        { ffmpeg: [ffmpeg(address.path)], gstreamer: [pipeline] },
        'a video file',
      );
      return video(attempts, { isFile: true });
    }
  }
}

function video(
  attempts: readonly OpenAttempt[],
  about: { isFile?: boolean; mayBeFile?: boolean },
): NativeCaptureSource {
  return { kind: 'video', attempts, isFile: about.isFile ?? false, mayBeFile: about.mayBeFile ?? false };
}

const ffmpeg = (target: string): OpenAttempt => ({
  backend: 'FFMPEG',
  target,
  deviceIndex: -1,
  requestFormat: false,
});

/** The ways that the build has and the caller wants, in the order given. */
function choose(
  settings: CameraSettings,
  support: CaptureSupport,
  ways: {
    readonly v4l2?: readonly OpenAttempt[];
    readonly ffmpeg?: readonly OpenAttempt[];
    readonly gstreamer?: readonly string[];
  },
  what: string,
): OpenAttempt[] {
  const attempts: OpenAttempt[] = [];
  for (const [name, list] of Object.entries(ways) as [keyof typeof ways, readonly (OpenAttempt | string)[]][]) {
    if (!support[name] || (settings.backend !== 'auto' && settings.backend !== name)) continue;
    for (const way of list) {
      attempts.push(
        typeof way === 'string' ? { backend: 'GSTREAMER', target: way, deviceIndex: -1, requestFormat: false } : way,
      );
    }
  }
  if (attempts.length === 0) {
    const needed = Object.keys(ways).join(' or ');
    throw new SdkError(
      'ERR_CAPTURE_UNSUPPORTED',
      `Expected an OpenCV with ${needed} for ${what}, but OpenCV ${support.openCvVersion} here ` +
        `${settings.backend === 'auto' ? 'was built without it' : `offers no "${settings.backend}" for it`}. ` +
        'Install an OpenCV build that has it (Debian, Ubuntu and JetPack: libopencv-dev), or choose another backend.',
      { details: { needed, backend: settings.backend, isLacking: true } },
    );
  }
  return attempts;
}

/** Whole frames a second as a GStreamer fraction; a fractional wish is rounded, the rest is done by skipping. */
const fraction = (fps: number, fallback: number) => `${Math.max(1, Math.round(fps > 0 ? fps : fallback))}/1`;

function csiPipeline(sensor: number, { width, height, fps }: Request): string {
  return (
    `nvarguscamerasrc sensor-id=${sensor} ! ` +
    `video/x-raw(memory:NVMM),width=${width || 1920},height=${height || 1080},framerate=${fraction(fps, 30)},format=NV12 ! ` +
    `nvvidconv ! video/x-raw,format=BGRx ! ${LIVE_SINK}`
  );
}

function v4l2MjpegPipeline(device: string, { width, height, fps }: Request): string {
  return (
    `v4l2src device=${device} do-timestamp=true ! ` +
    `image/jpeg,width=${width || 1280},height=${height || 720},framerate=${fraction(fps, 30)} ! jpegdec ! ${LIVE_SINK}`
  );
}

function v4l2AnyPipeline(device: string): string {
  return `v4l2src device=${device} do-timestamp=true ! decodebin ! ${LIVE_SINK}`;
}

function rtspPipelines(url: string, settings: CameraSettings, jetson: boolean): string[] {
  const source = `rtspsrc location="${url}" protocols=${settings.rtspTransport} latency=${settings.rtspLatencyMs} ! queue`;
  const hardware = (codec: 'h264' | 'h265') =>
    `${source} ! rtp${codec}depay ! ${codec}parse ! nvv4l2decoder enable-max-performance=1 ! nvvidconv ! ` +
    `video/x-raw,format=BGRx ! ${LIVE_SINK}`;
  return [...(jetson ? [hardware('h264'), hardware('h265')] : []), `${source} ! decodebin ! ${LIVE_SINK}`];
}

function testPipeline({ width, height, fps }: Request): string {
  return (
    `videotestsrc is-live=true ! ` +
    `video/x-raw,width=${width || 640},height=${height || 480},framerate=${fraction(fps, 30)} ! ${LIVE_SINK}`
  );
}

/** A double-quoted string of gst_parse_launch: only `"` and `\` mean something inside. */
export function quoteForPipeline(text: string): string {
  return `"${text.replace(/[\\"]/g, '\\$&')}"`;
}

/** `isRelayed`: what a server redirects to must not be opened without TLS being judged. */
function ffmpegOptions(address: ResolvedAddress, settings: CameraSettings, isRelayed: boolean): string {
  switch (address.kind) {
    case 'rtsp':
      return isRelayed
        ? 'rtsp_transport;tcp|protocol_whitelist;rtsp,rtp,tcp,crypto,data'
        : `rtsp_transport;${settings.rtspTransport}|protocol_whitelist;rtsp,rtp,srtp,tcp,udp,crypto,data`;
    case 'http':
      return 'protocol_whitelist;http,tcp,crypto,data';
    default:
      return 'protocol_whitelist;file,crypto,data';
  }
}

/** Names of the elements of a pipeline made here: what stands first between two `!`, caps (with a `/`) left out. */
export function elementsOf(pipeline: string): string[] {
  const unquoted = pipeline.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  return unquoted
    .split('!')
    .map((part) => part.trim().split(/\s/, 1)[0] ?? '')
    .filter((name) => name !== '' && !name.includes('/'));
}

/**
 * The plan without pipelines that this machine's GStreamer has no elements for.
 * @throws SdkError ERR_CAPTURE_UNSUPPORTED that names the elements when no way is left.
 */
export function withoutMissingElements(
  plan: CapturePlan,
  missingElements: (names: readonly string[]) => readonly string[],
): CapturePlan {
  if (plan.source.kind !== 'video') return plan;
  const missing = new Set<string>();
  const attempts = plan.source.attempts.filter((attempt) => {
    if (attempt.backend !== 'GSTREAMER') return true;
    const lacking = missingElements(elementsOf(attempt.target));
    for (const name of lacking) missing.add(name);
    return lacking.length === 0;
  });
  if (attempts.length === 0) {
    const names = [...missing].join(', ');
    throw new SdkError(
      'ERR_CAPTURE_UNSUPPORTED',
      `Expected GStreamer to have ${names}, but it does not. ` +
        `${names.includes('nv') ? 'CSI cameras work on a Jetson only (in a container: one with the L4T multimedia packages).' : 'Install gstreamer1.0-plugins-base, -good and -bad.'}`,
      { details: { missing: [...missing], isLacking: true } },
    );
  }
  return { ...plan, source: { ...plan.source, attempts } };
}
