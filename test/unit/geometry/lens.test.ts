import { describe, expect, test } from 'vitest';
import { locateBox } from '#sdk/geometry/bearing.js';
import { formatCameraInfo, parseCameraInfo } from '#sdk/geometry/camera-info.js';
import { type CameraLens, directionOfPixel, lensForSize, projectDirection } from '#sdk/geometry/lens.js';
import { direction } from '../../support/rendered-boards.js';

const PINHOLE: CameraLens = {
  width: 640,
  height: 480,
  fx: 520,
  fy: 515,
  cx: 326.4,
  cy: 233.7,
  distortionModel: 'plumb_bob',
  distortion: [-0.28, 0.09, 0.001, -0.0006, 0.01],
};
const FISHEYE: CameraLens = {
  ...PINHOLE,
  fx: 230,
  fy: 231,
  distortionModel: 'equidistant',
  distortion: [-0.02, 0.004, -0.002, 0.0003],
};
const WIDE: CameraLens = {
  ...PINHOLE,
  distortionModel: 'rational_polynomial',
  distortion: [0.2, -0.1, 0.001, 0.0005, 0.01, 0.3, -0.05, 0.01],
};
const PLAIN: CameraLens = { ...PINHOLE, fx: 500, fy: 500, cx: 319.5, cy: 239.5, distortion: [0, 0, 0, 0, 0] };

describe('lenses', () => {
  test.each([
    ['plumb_bob', PINHOLE],
    ['equidistant', FISHEYE],
    ['rational_polynomial', WIDE],
  ])('%s: a pixel looks where what it shows is', (_, lens) => {
    for (let u = 0; u < lens.width; u += 71)
      for (let v = 0; v < lens.height; v += 53) {
        const along = directionOfPixel(lens, u, v);
        expect(Math.hypot(...(along ?? []))).toBeCloseTo(1, 9);
        const [backU, backV] = projectDirection(lens, along ?? [0, 0, 1]) ?? [];
        expect(backU).toBeCloseTo(u, 5);
        expect(backV).toBeCloseTo(v, 5);
      }
  });

  test.each([
    ['plumb_bob', PINHOLE],
    ['equidistant', FISHEYE],
  ])('%s: agrees with another solution of the same model', (_, lens) => {
    for (const [u, v] of [
      [100, 100],
      [600, 240],
      [320, 479],
    ] as const) {
      const [x, y, z] = direction(lens, u, v);
      const length = Math.hypot(x, y, z);
      const along = directionOfPixel(lens, u, v) ?? [];
      [x, y, z].forEach((part, i) => {
        expect(along[i]).toBeCloseTo(part / length, 6);
      });
    }
  });

  test('has no direction for a pixel far outside, and shows nothing that is behind a pinhole', () => {
    expect(directionOfPixel({ ...PINHOLE, distortion: [-0.3, 0, 0, 0, 0] }, 5_000, 5_000)).toBeUndefined();
    expect(projectDirection(PINHOLE, [0, 0, -1])).toBeUndefined();
  });

  test('holds for the whole picture at another size, not for one whose sides have another ratio', () => {
    const half = lensForSize(PINHOLE, 320, 240);
    // The same point of the scene: pixel centres of the large picture lie between those of the small one.
    const [u = 0, v = 0] = projectDirection(PINHOLE, [0.3, -0.2, 1]) ?? [];
    const [halfU, halfV] = projectDirection(half, [0.3, -0.2, 1]) ?? [];
    expect(halfU).toBeCloseTo((u + 0.5) / 2 - 0.5, 9);
    expect(halfV).toBeCloseTo((v + 0.5) / 2 - 0.5, 9);
    expect(() => lensForSize(PINHOLE, 1280, 720)).toThrow(/1280×720, but this one is for 640×480.*calibrate/);
  });
});

describe('camera_info', () => {
  const accuracy = { fx: 1.2, fy: 1.1, cx: 0.5, cy: 0.4, rms: 0.2 };
  test.each(['yaml', 'json'] as const)('is read as it was written in %s', (format) => {
    for (const lens of [
      { ...PINHOLE, accuracy },
      { ...FISHEYE, accuracy },
      { ...WIDE, accuracy },
    ])
      expect(parseCameraInfo(formatCameraInfo(lens, 'front', format))).toEqual(lens);
  });

  test('keeps lists on one line and makes a name of ROS', () => {
    const text = formatCameraInfo(PINHOLE, 'front cam/1');
    expect(text).toContain('camera_name: front_cam_1\n');
    expect(text).toContain('data: [520, 0, 326.4, 0, 515, 233.7, 0, 0, 1]\n');
  });

  const good = formatCameraInfo(PINHOLE, 'front', 'json');
  test.each([
    ['', /is not/],
    ['{', /does not parse/],
    [good.replace('520', '0'), /never calibrated/],
    [good.replace('"plumb_bob"', '"pinhole"'), /distortion_model is not/],
    [good.replace('"image_width": 640', '"image_width": "wide"'), /image_width is not/],
    [good.replace('"cols": 5', '"cols": 5').replace(/\[\s*-0\.28[^\]]*\]/, '[0.1]'), /5 coefficients/],
    [good.replace('233.7', '.nan'), /Expected/],
  ])('refuses what is none: %#', (text, message) => {
    expect(() => parseCameraInfo(text, 'front.yaml')).toThrow(message);
  });
});

describe('where a box is', () => {
  const box = (x: number, y: number) => ({ x1: x - 0.01, y1: y - 0.02, x2: x + 0.01, y2: y });
  const at = (u: number, v: number) => box((u + 0.5) / 640, (v + 0.5) / 480);

  test('azimuth is positive to the left, elevation upwards, against the axis of the camera', () => {
    const { bearing, floor } = locateBox(PLAIN, { x1: 0.1, y1: 0.1, x2: 0.12, y2: 0.12 }) ?? {};
    expect(bearing?.azimuthDegrees).toBeGreaterThan(20);
    expect(bearing?.elevationDegrees).toBeGreaterThan(15);
    expect(bearing?.frame).toBe('camera');
    expect(floor).toBeUndefined();
    const centre = locateBox(PLAIN, { x1: 0.45, y1: 0.45, x2: 0.55, y2: 0.55 })?.bearing;
    expect(centre?.azimuthDegrees).toBeCloseTo(0, 9);
    expect(centre?.elevationDegrees).toBeCloseTo(0, 9);
  });

  test('a camera one metre high that looks down by 45° sees the floor one metre ahead in its middle', () => {
    const { floor } = locateBox(PLAIN, at(319.5, 239.5), { heightMetres: 1, pitchDegrees: 45 }) ?? {};
    expect(floor?.xMetres).toBeCloseTo(1, 6);
    expect(floor?.yMetres).toBeCloseTo(0, 6);
    const turned = locateBox(PLAIN, at(319.5, 239.5), {
      heightMetres: 1,
      pitchDegrees: 45,
      yawDegrees: 90,
      forwardMetres: 0.2,
      leftMetres: -0.1,
    });
    expect(turned?.floor?.xMetres).toBeCloseTo(0.2, 6);
    expect(turned?.floor?.yMetres).toBeCloseTo(0.9, 6);
  });

  test('a right side that is lower moves what is at the left up', () => {
    const left = { x1: 0.2, y1: 0.49, x2: 0.22, y2: 0.51 };
    expect(locateBox(PLAIN, left, { heightMetres: 1, rollDegrees: 10 })?.bearing.elevationDegrees).toBeGreaterThan(2);
  });

  test('at and above the horizon nothing stands on the floor', () => {
    expect(locateBox(PLAIN, at(300, 100), { heightMetres: 1 })?.floor).toBeUndefined();
    expect(locateBox(PLAIN, at(300, 300), { heightMetres: 1 })?.floor).toBeDefined();
  });

  test('is less certain far away, and with a worse lens or mounting', () => {
    const mounting = { heightMetres: 1, pitchDegrees: 20 };
    const near = locateBox(PLAIN, at(320, 400), mounting);
    const far = locateBox(PLAIN, at(320, 120), mounting);
    expect(far?.floor?.sigmaMetres ?? 0).toBeGreaterThan(3 * (near?.floor?.sigmaMetres ?? 0));
    const rough = { ...PLAIN, accuracy: { fx: 20, fy: 20, cx: 5, cy: 5, rms: 1 } };
    expect(locateBox(rough, at(600, 400), mounting)?.bearing.sigmaDegrees).toBeGreaterThan(
      locateBox(PLAIN, at(600, 400), mounting)?.bearing.sigmaDegrees ?? 0,
    );
    const loose = locateBox(PLAIN, at(320, 400), { ...mounting, angleSigmaDegrees: 3 });
    expect(loose?.floor?.sigmaMetres ?? 0).toBeGreaterThan(near?.floor?.sigmaMetres ?? 0);
  });
});
