import { describe, expect, test } from 'vitest';
import {
  elementsOf,
  planCapture,
  quoteForPipeline,
  type ResolvedAddress,
  withoutMissingElements,
} from '#sdk/capture/host/plan.js';
import { cameraOptionsSchema } from '#sdk/capture/index.js';

const all = { openCvVersion: '4.8.0', gstreamer: true, ffmpeg: true, v4l2: true, gstreamerH264: true, jetson: false };
const settings = (options: object = {}) => cameraOptionsSchema.parse(options);
const attempts = (address: ResolvedAddress, options: object = {}, support = all) => {
  const { source } = planCapture(address, settings(options), support);
  if (source.kind !== 'video') throw new Error('expected a video');
  return source.attempts.map(({ backend, target }) => `${backend} ${target}`);
};
const BGR_SINK = 'videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false';

describe('what OpenCV is asked to open', () => {
  test('a CSI camera: Argus, in hardware as far as BGRx', () => {
    expect(attempts({ kind: 'csi', sensor: 1 }, { size: { width: 1280, height: 720 }, fps: 60 })).toEqual([
      `GSTREAMER nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=60/1,format=NV12 ! nvvidconv ! video/x-raw,format=BGRx ! ${BGR_SINK}`,
    ]);
  });

  test('RTSP: hardware decoding first on a Jetson, FFmpeg last', () => {
    const address = { kind: 'rtsp', url: 'rtsp://host/main' } as const;
    const source = 'rtspsrc location="rtsp://host/main" protocols=tcp latency=200 ! queue';
    expect(attempts(address, {}, { ...all, jetson: true })).toEqual([
      `GSTREAMER ${source} ! rtph264depay ! h264parse ! nvv4l2decoder enable-max-performance=1 ! nvvidconv ! video/x-raw,format=BGRx ! ${BGR_SINK}`,
      `GSTREAMER ${source} ! rtph265depay ! h265parse ! nvv4l2decoder enable-max-performance=1 ! nvvidconv ! video/x-raw,format=BGRx ! ${BGR_SINK}`,
      `GSTREAMER ${source} ! decodebin ! ${BGR_SINK}`,
      'FFMPEG rtsp://host/main',
    ]);
    expect(attempts(address, {}, { ...all, gstreamerH264: false })[0]).toBe('FFMPEG rtsp://host/main');
    expect(attempts(address, { backend: 'ffmpeg' })).toEqual(['FFMPEG rtsp://host/main']);
    expect(attempts(address, { rtspTransport: 'udp', rtspLatencyMs: 50 })[0]).toContain('protocols=udp latency=50');
    expect(planCapture(address, settings({ rtspTransport: 'udp' }), all).ffmpegOptions).toMatch(
      /^rtsp_transport;udp\|/,
    );
  });

  test('a V4L2 camera: the driver first, pipelines after it or when asked for', () => {
    const address = { kind: 'v4l2', device: '/dev/video3' } as const;
    expect(attempts(address)[0]).toBe('V4L2 /dev/video3');
    expect(attempts(address, { backend: 'gstreamer', size: { width: 1280, height: 720 }, fps: 30 })[0]).toBe(
      `GSTREAMER v4l2src device=/dev/video3 do-timestamp=true ! image/jpeg,width=1280,height=720,framerate=30/1 ! jpegdec ! ${BGR_SINK}`,
    );
  });

  test('asks the source for the size before rotation', () => {
    const { options } = planCapture(
      { kind: 'csi', sensor: 0 },
      settings({ rotation: 90, size: { width: 720, height: 1280 } }),
      all,
    );
    expect(options).toMatchObject({ width: 1280, height: 720, rotation: 90 });
  });

  test('quotes file names so that they stay file names', () => {
    expect(quoteForPipeline('/a "b" ! c\\d')).toBe('"/a \\"b\\" ! c\\\\d"');
    const path = '/tmp/x" ! filesink location="/etc/passwd';
    const [pipeline] = attempts({ kind: 'file', path, loop: false }, { backend: 'gstreamer' });
    expect(elementsOf(pipeline!.slice('GSTREAMER '.length))).toEqual([
      'filesrc',
      'decodebin',
      'videoconvert',
      'appsink',
    ]);
  });

  test('says what is missing when this OpenCV cannot', () => {
    expect(() => attempts({ kind: 'csi', sensor: 0 }, {}, { ...all, gstreamer: false })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPTURE_UNSUPPORTED', message: expect.stringContaining('gstreamer') }),
    );
    expect(() => attempts({ kind: 'file', path: '/a.mp4', loop: false }, { backend: 'v4l2' })).toThrow(
      /choose another backend/,
    );
  });

  test('leaves out pipelines whose elements this GStreamer lacks, and names them when nothing is left', () => {
    const missing = (names: readonly string[]) => names.filter((name) => name.startsWith('nv'));
    const rtsp = planCapture({ kind: 'rtsp', url: 'rtsp://host/' }, settings(), { ...all, jetson: true });
    const { source } = withoutMissingElements(rtsp, missing);
    expect(source).toMatchObject({ attempts: [{ backend: 'GSTREAMER' }, { backend: 'FFMPEG' }] });
    const csi = planCapture({ kind: 'csi', sensor: 0 }, settings(), all);
    expect(() => withoutMissingElements(csi, missing)).toThrow(/nvarguscamerasrc, nvvidconv.*Jetson/);
  });
});
