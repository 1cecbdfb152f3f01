/** Boards that are drawn through a known lens, found and solved by the addon. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { nativeBoard } from '#calibration/camera/board.js';
import {
  BoardViews,
  type CalibrationBoard,
  CalibrationSession,
  drawBoard,
  parseBoard,
  saveLens,
  solveLens,
} from '#calibration/camera/index.js';
import { formatCameraInfo, parseCameraInfo } from '#sdk/geometry/camera-info.js';
import { type CameraLens, directionOfPixel } from '#sdk/geometry/lens.js';
import { lensAddon } from '#sdk/native/index.js';
import { BoardRenderer, direction, LENS, POSES, type Pose } from '../support/rendered-boards.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';

const FISHEYE: CameraLens = {
  ...LENS,
  fx: 230,
  fy: 231,
  cx: 318.2,
  cy: 242.9,
  distortionModel: 'equidistant',
  distortion: [-0.02, 0.004, -0.002, 0.0003],
};
function pictureOf(board: CalibrationBoard, layout: 'current' | 'legacy' = 'current') {
  return { ...lensAddon().drawBoard(nativeBoard(board), layout, 48), squarePixels: 48 };
}

function nearer(pose: Pose, part: number): Pose {
  return { ...pose, at: [pose.at[0] * part, pose.at[1] * part, pose.at[2] * part] };
}

function bearingErrorDegrees(found: CameraLens, truth: CameraLens): number {
  let worst = 0;
  for (const [u, v] of [
    [320, 240],
    [120, 100],
    [500, 120],
    [140, 380],
    [520, 370],
  ] as const) {
    const seen = directionOfPixel(found, u, v) ?? [0, 0, -1];
    const [x, y, z] = direction(truth, u, v);
    const cosine = (seen[0] * x + seen[1] * y + seen[2] * z) / Math.hypot(x, y, z);
    worst = Math.max(worst, (Math.acos(Math.min(1, cosine)) * 180) / Math.PI);
  }
  return worst;
}

let pinhole: BoardRenderer;
let fisheye: BoardRenderer;
beforeAll(() => {
  pinhole = new BoardRenderer(LENS);
  fisheye = new BoardRenderer(FISHEYE);
});

describe('calibrating a camera', { timeout: 240_000 }, () => {
  test.each([
    ['a chessboard', 'chessboard:8x6', 'current', LENS, 1.35],
    ['a ChArUco board with an odd number of rows', 'charuco:7x5', 'current', LENS, 1],
    ['a legacy ChArUco board with an even number of rows', 'charuco:7x6', 'legacy', LENS, 1.05],
    ['a fisheye lens and a current ChArUco board with an even number of rows', 'charuco:7x6', 'current', FISHEYE, 0.5],
  ] as const)(
    '%s: focal length within 1 %, corners within 0.3 pixels, bearings within 0.3°',
    async (_, name, layout, lens, near) => {
      const board = parseBoard(name);
      const picture = pictureOf(board, layout);
      const renderer = lens === LENS ? pinhole : fisheye;
      const views = new BoardViews(board);
      for (const [i, pose] of POSES.entries()) await views.add(renderer.render(picture, nearer(pose, near)), `${i}`);
      const { lens: found, rmsPixels, leftOut } = await solveLens(views, lens.distortionModel);
      expect(views.views.length).toBeGreaterThanOrEqual(7);
      expect(leftOut.length).toBeLessThanOrEqual(1);
      if (board.rows % 2 === 0 && board.kind === 'charuco') expect(views.layout).toBe(layout);
      expect(Math.abs(found.fx / lens.fx - 1)).toBeLessThan(0.01);
      expect(Math.abs(found.fy / lens.fy - 1)).toBeLessThan(0.01);
      expect(rmsPixels).toBeLessThan(0.3);
      expect(bearingErrorDegrees(found, lens)).toBeLessThan(0.3);
      expect(found.accuracy?.fx).toBeGreaterThan(0);
      expect(found.accuracy?.fx ?? 99).toBeLessThan(0.01 * lens.fx);
    },
  );

  test('refuses blurred, alike and mixed pictures, those without a board, and says what to do', async () => {
    const board = parseBoard('charuco:7x5');
    const picture = pictureOf(board);
    const [pose = POSES[0] as Pose] = POSES;
    const views = new BoardViews(board);
    const sharp = pinhole.render(picture, pose);
    expect((await views.add(sharp, 'first')).refusal).toBeUndefined();
    expect(await views.add(sharp, 'again')).toMatchObject({
      refusal: 'alike',
      message: expect.stringContaining('move'),
    });
    // The markers of a blurred board are not found; the squares of a chessboard are.
    expect(await views.add(pinhole.render(picture, pose, 4), 'shaken')).toMatchObject({ refusal: 'no-board' });
    const chessboard = parseBoard('chessboard:8x6');
    const shaken = pinhole.render(pictureOf(chessboard), nearer(pose, 1.35), 3);
    expect(await new BoardViews(chessboard).add(shaken, 'shaken')).toMatchObject({
      refusal: 'blurred',
      message: expect.stringMatching(/edges reach over \d\.\d pixels. Hold the board still/),
    });
    const grey = { width: 640, height: 480, format: 'rgb8' as const, data: new Uint8Array(640 * 480 * 3).fill(99) };
    expect(await views.add(grey, 'wall')).toMatchObject({ refusal: 'no-board' });
    const small = { width: 320, height: 240, format: 'rgb8' as const, data: new Uint8Array(320 * 240 * 3) };
    expect(await views.add(small, 'small')).toMatchObject({
      refusal: 'size',
      message: expect.stringContaining('640×480'),
    });
    await expect(solveLens(views)).rejects.toMatchObject({
      code: 'ERR_CALIBRATION_FAILED',
      message: expect.stringMatching(/at least 5 different sharp pictures.*but there are 1 .*1 like another/),
    });
    expect(views.coverage).toMatchObject({ views: 1, isEnough: false });
  });

  test('refuses views that are too alike to tell the focal length', async () => {
    const board = parseBoard('charuco:7x5');
    const picture = pictureOf(board);
    const views = new BoardViews(board);
    // Flat before the lens: near and far look like a longer and a shorter lens.
    for (const [x, y] of [
      [0, 0],
      [0.7, 0],
      [-0.7, 0],
      [0, 0.7],
      [0, -0.7],
    ] as const)
      await views.add(pinhole.render(picture, { at: [x, y, 9], turned: [0, 0, 0] }), `${x} ${y}`);
    await expect(solveLens(views)).rejects.toMatchObject({
      code: 'ERR_CALIBRATION_FAILED',
      message: expect.stringContaining('too alike'),
    });
  });

  test('a session guides from the first picture to the file, which is whole or not there', async () => {
    const board = parseBoard('charuco:7x5');
    const picture = pictureOf(board);
    const session = new CalibrationSession({ board });
    expect(session.progress).toMatchObject({ pictures: 0, guidance: 'Hold the board before the camera.' });
    for (const [i, pose] of [...POSES.slice(0, 1), ...POSES.slice(0, 6)].entries()) {
      await session.add(pinhole.render(picture, pose), `${i}`);
      if (i < 2) expect(session.progress.guidance).toBe('Move the board to the top right of the picture.');
    }
    expect(session.size).toEqual({ width: 640, height: 480 });
    expect(session.progress).toMatchObject({ pictures: 7, refused: { alike: 1 }, coverage: { views: 6, tilted: 6 } });
    expect(session.progress.guidance).toBe('More of the same, nearer and farther.');
    const { lens } = await session.solve();
    const folder = await makeTemporaryFolder('scenebus-lens-');
    for (const name of ['front.yaml', 'front.json']) {
      await saveLens(lens, join(folder, name), 'front');
      expect(parseCameraInfo(readFileSync(join(folder, name), 'utf8'))).toEqual(lens);
    }
    await expect(saveLens(lens, join(folder, 'front.ini'), 'front')).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringContaining('.yaml'),
    });
    await expect(saveLens(lens, folder.concat('/none/front.yaml'), 'front')).rejects.toThrow('ENOENT');
    expect(readdirSync(folder).sort()).toEqual(['front.json', 'front.yaml']);
  });

  test('refuses boards that are none and dictionaries that nobody knows', async () => {
    for (const name of ['charuco', 'chessboard:99x99', 'circles:4x11', 'charuco:2x2'])
      expect(() => parseBoard(name), name).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }));
    expect(() => parseBoard('chessboard:8x6', { dictionary: 'DICT_5X5_100' })).toThrow(/no markers/);
    expect(() => parseBoard('charuco:7x5', { squareMillimetres: 10, markerMillimetres: 12 })).toThrow(/smaller/);
    await expect(drawBoard(parseBoard('charuco:7x5', { dictionary: 'DICT_9X9_1' }))).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringContaining('DICT_9X9_1'),
    });
    await expect(drawBoard(parseBoard('charuco:20x20', { dictionary: 'DICT_4X4_50' }))).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringContaining('has 50'),
    });
  });

  test("ROS's own parser reads what is written", async () => {
    const folder = await makeTemporaryFolder('scenebus-lens-');
    const [yaml, ini, back] = ['lens.yaml', 'lens.ini', 'back.yaml'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const convert = '/usr/lib/camera_calibration_parsers/convert';
    for (const lens of [{ ...LENS, accuracy: { fx: 1, fy: 1, cx: 1, cy: 1, rms: 0.1 } }, FISHEYE]) {
      writeFileSync(yaml, formatCameraInfo(lens, 'front'));
      if (lens.distortionModel === 'plumb_bob') {
        execFileSync(convert, [yaml, ini], { stdio: 'pipe' });
        expect(readFileSync(ini, 'utf8')).toContain('520.00000 0.00000 326.40000');
      }
      execFileSync(convert, [yaml, back], { stdio: 'pipe' });
      const { accuracy: _, ...plain } = lens as CameraLens;
      const read = parseCameraInfo(readFileSync(back, 'utf8'));
      expect(read.distortion.map((k) => Number(k.toFixed(6)))).toEqual(plain.distortion);
      expect([read.fx, read.fy, read.cx, read.cy, read.width]).toEqual([plain.fx, plain.fy, plain.cx, plain.cy, 640]);
    }
  });
});
