/** `scenebus calibrate-camera` on rendered pictures and on a clip of them. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CameraLens, lensForSize, parseCameraInfo } from 'scenebus';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '#device/cli/program.js';
import { captureTerminal } from '../../support/captured-terminal.js';
import { type BoardPicture, BoardRenderer, LENS as ORDINARY, POSES, type Pose } from '../../support/rendered-boards.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';

const LENS = lensForSize(ORDINARY, 480, 360);
const HELD = POSES.slice(0, 8);

let folder: string;
const at = (...names: string[]) => join(folder, ...names);

async function calibrate(args: readonly string[], isTTY = false) {
  const terminal = captureTerminal({ isTTY });
  const code = await runCli(['calibrate-camera', ...args], { terminal, environment: {} });
  return { code, out: terminal.output(), err: terminal.errors() };
}

async function save(name: string, pixels: Uint8Array, width: number, height: number): Promise<void> {
  await sharp(pixels, { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 1 })
    .toFile(at(name));
}

/** The board as the command draws it. */
async function draw(name: string): Promise<BoardPicture> {
  const file = at(`${name.replace(':', '-')}.png`);
  const drawn = await calibrate(['--board', name, '--square-mm', '4', '--draw-board', file]);
  expect(drawn).toMatchObject({ code: 0, err: expect.stringContaining('squares of 4 mm') });
  const { data, info } = await sharp(file).greyscale().raw().toBuffer({ resolveWithObject: true });
  const { density = 0 } = await sharp(file).metadata();
  const squarePixels = Math.round((4 / 25.4) * density);
  return { width: info.width, height: info.height, grey: new Uint8Array(data), squarePixels };
}

function farther({ at: [x, y, z], turned }: Pose): Pose {
  return { at: [x * 1.35, y * 1.35, z * 1.35], turned };
}

beforeAll(async () => {
  folder = await makeTemporaryFolder('scenebus-calibrate-camera-');
  for (const name of ['good', 'blurred', 'alike', 'mixed']) mkdirSync(at(name));
  const board = await draw('charuco:7x5');
  const chessboard = await draw('chessboard:8x6');
  const renderer = new BoardRenderer(LENS);
  for (const [i, pose] of HELD.entries()) {
    const { data: pixels, width, height } = renderer.render(board, pose);
    await save(`good/${i}.png`, pixels, width, height);
    if (i >= 6) continue;
    await save(`alike/${i}.png`, renderer.render(board, HELD[0]!).data, width, height);
    // The markers of a blurred ChArUco board are not even found.
    await save(`blurred/${i}.png`, renderer.render(chessboard, farther(pose), 2.5).data, width, height);
    if (i < 3) await save(`mixed/${i}.png`, pixels, width, height);
    else
      await sharp(pixels, { raw: { width, height, channels: 3 } })
        .resize(width / 2, height / 2)
        .toFile(at(`mixed/${i}.png`));
  }
}, 180_000);

function expectRight(lens: CameraLens): void {
  expect([lens.width, lens.height]).toEqual([480, 360]);
  expect(Math.abs(lens.fx / LENS.fx - 1)).toBeLessThan(0.01);
  expect(Math.abs(lens.fy / LENS.fy - 1)).toBeLessThan(0.01);
}

describe('scenebus calibrate-camera', { timeout: 120_000 }, () => {
  test('makes YAML and JSON of pictures, and says how good they are', async () => {
    const { code, out, err } = await calibrate([at('good'), '--out', at('front.yaml'), '--out', at('front.json')]);
    expect({ code, err }).toMatchObject({ code: 0 });
    for (const name of ['front.yaml', 'front.json']) expectRight(parseCameraInfo(readFileSync(at(name), 'utf8')));
    expect(readFileSync(at('front.yaml'), 'utf8')).toContain('camera_name: front\n');
    expect(out).toMatch(/480×360, plumb_bob; 6\d\.\d° across/);
    expect(out).toMatch(/corners within 0\.[012]\d pixels \(RMS\) in [78] of 8 pictures/);
    expect(out).toContain('intrinsics: front.yaml');
    expect(err.match(/shows the board: \d+ corners/g)?.length).toBeGreaterThanOrEqual(7);
  });

  test.each([
    ['blurred', 'blurred', /6 blurred.*Hold the board still/],
    ['alike', 'alike', /there are 1 .*5 like another.*Move the board/],
    ['mixed', 'of two sizes', /there are 3 .*3 of another size.*at the size that the camera runs with/],
  ])('refuses pictures that are %s, and writes nothing', async (name, _, message) => {
    const board = name === 'blurred' ? 'chessboard:8x6' : 'charuco:7x5';
    const { code, out, err } = await calibrate([at(name), '--board', board, '--out', at(`${name}.yaml`)]);
    expect([code, out]).toEqual([1, '']);
    expect(err).toMatch(/ERR_CALIBRATION_FAILED/);
    expect(err).toMatch(message);
    expect(readdirSync(folder)).not.toContain(`${name}.yaml`);
  });

  test('looks through a clip, with a map of what is missing on a terminal', async () => {
    const clip = at('board.avi');
    const encoded = ['-c:v', 'mjpeg', '-q:v', '2', '-r', '10', clip];
    execFileSync('ffmpeg', ['-v', 'error', '-y', '-framerate', '1.5', '-i', at('good/%d.png'), ...encoded]);
    const { code, out, err } = await calibrate([clip, '--json', '--out', at('clip.json')], true);
    expect({ code, out: out.slice(0, 500) }).toMatchObject({ code: 0 });
    const result = JSON.parse(out);
    expectRight(result.lens);
    expect(parseCameraInfo(readFileSync(at('clip.json'), 'utf8'))).toEqual(result.lens);
    expect(result.coverage.views).toBeGreaterThanOrEqual(5);
    expect(err).toMatch(/│[·░▒▓█]{12}│\n/);
    expect(err).toContain('\x1b[6A');
    expect(err).toMatch(/Move the board to the (top|bottom) (left|right) of the picture\./);
  });

  test('what cannot work is said before anybody holds a board', async () => {
    const cases: readonly (readonly [string[], RegExp])[] = [
      [[], /pictures, a clip or a camera, or --draw-board/],
      [[at('good')], /--out FILE/],
      [[at('good'), '--out', at('front.ini')], /ends in \.yaml/],
      [[at('good'), '--out', at('none/front.yaml')], /folder.*not there/],
      [[at('good'), '--board', 'circles:4x11', '--out', at('x.yaml')], /chessboard:9x6/],
      [[at('good'), '--size', 'wide', '--out', at('x.yaml')], /1280x720/],
      [[at('good'), '--rotation', '45', '--out', at('x.yaml')], /90, 180 or 270/],
      [[at('nowhere.mp4'), '--out', at('x.yaml')], /not there/],
    ];
    for (const [args, message] of cases) {
      const { code, err } = await calibrate(args);
      expect(code, err).not.toBe(0);
      expect(err).toMatch(message);
    }
  });
});
