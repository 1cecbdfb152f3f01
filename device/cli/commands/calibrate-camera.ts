import { access, constants, writeFile } from 'node:fs/promises';
import { basename, dirname, extname } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { CameraLens, CameraOptions } from 'scenebus';
import type { CalibrationSession, CameraCalibration, LensKind } from '#calibration/camera/index.js';
import { type CommandContext, examples } from '../command-context.js';
import { parsePositive } from '../model-options.js';
import type { Terminal } from '../terminal.js';

interface CalibrateCameraCommandOptions {
  readonly board: string;
  readonly squareMm?: number;
  readonly markerMm?: number;
  readonly dictionary?: string;
  readonly layout?: 'auto' | 'current' | 'legacy';
  readonly lens: LensKind;
  readonly out?: readonly string[];
  readonly name?: string;
  readonly size?: CameraOptions['size'];
  readonly rotation?: CameraOptions['rotation'];
  readonly seconds: number;
  readonly drawBoard?: string;
  readonly json?: true;
}

/** Pictures of a stream that are looked at in a second: a hand moves the board by more than it is looked for. */
const LOOKS_PER_SECOND = 4;
const HELP = `
A board to print: --draw-board board.png, at 100 %, glued to something flat. Of a chessboard the inner corners are
counted, of a ChArUco board the squares. Boards of OpenCV before 4.6 with an even number of rows look different: the
pictures tell which it is, or --layout does.

Show the board in every part of the picture, near and far, tilted to all sides; at least 5 different sharp pictures, 12
and more are better. With a camera the terminal shows which parts are missing and what to do next, and the command ends
by itself. The pictures must have the size and the rotation that the camera runs with.
`;

export function addCalibrateCameraCommand(program: Command, context: CommandContext): void {
  program
    .command('calibrate-camera')
    .description('Find out what the lens of a camera does, from pictures of a board: for bearings and places of boxes')
    .argument('[source...]', 'pictures, folders, patterns, a clip, or a camera that is held before the board')
    .option('--out <file>', "ROS's camera_info: .yaml or .json; may be given twice", collect)
    .option('--board <kind>', 'such as charuco:7x5 or chessboard:9x6', 'charuco:7x5')
    .option('--square-mm <length>', 'side of a square; default 30', parsePositive)
    .option('--marker-mm <length>', 'side of a marker; default ¾ of a square', parsePositive)
    .option('--dictionary <name>', 'of the markers, as OpenCV names it; default DICT_5X5_100')
    .addOption(new Option('--layout <kind>', 'of a ChArUco board').choices(['auto', 'current', 'legacy']))
    .addOption(
      new Option('--lens <kind>', 'wide: rational_polynomial of ROS; fisheye: equidistant')
        .choices(['pinhole', 'wide', 'fisheye'])
        .default('pinhole'),
    )
    .option('--name <name>', "the camera's in the file; default: the name of the file")
    .option('--size <WxH>', 'open the camera like this, as in its configuration', parseSize)
    .option('--rotation <degrees>', 'clockwise: 90, 180 or 270, as in its configuration', parseRotation)
    .option('--seconds <count>', 'look through a camera at most so long', parsePositive, 300)
    .option('--draw-board <file>', 'write the board as a PNG to print')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', HELP)
    .addHelpText(
      'after',
      examples(
        'scenebus calibrate-camera --board charuco:7x5 --square-mm 30 --draw-board board.png',
        'scenebus calibrate-camera 0 --board charuco:7x5 --size 1280x720 --out front.yaml',
        'scenebus calibrate-camera "pictures/*.jpg" --board chessboard:9x6 --lens fisheye --out front.yaml',
      ),
    )
    .action(async (sources: readonly string[], options: CalibrateCameraCommandOptions) => {
      const { CalibrationSession, drawBoard, parseBoard, saveLens } = await import('#calibration/camera/index.js');
      const { terminal } = context;
      const {
        squareMm: squareMillimetres,
        markerMm: markerMillimetres,
        dictionary,
        layout,
        lens,
        drawBoard: png,
      } = options;
      const board = parseBoard(options.board, { squareMillimetres, markerMillimetres, dictionary, layout });
      if (png !== undefined) {
        await requirePlaces([png]);
        await writeFile(png, await drawBoard(board));
        terminal.note(`${png}: squares of ${board.squareMillimetres} mm when printed at 100 %; measure one`);
        if (sources.length === 0) return;
      }
      const files = await requireOutput(sources, options.out);
      const session = new CalibrationSession({ board, lens });
      await collectViews(session, sources, options, context);
      const result = await session.solve();
      for (const file of files) await saveLens(result.lens, file, options.name ?? basename(file, extname(file)));
      if (options.json) terminal.out(JSON.stringify({ ...result, layout: session.layout, ...session.progress, files }));
      else printResult(result, session, files, terminal);
    });
}

/** Before anybody holds a board for minutes. */
async function requireOutput(
  sources: readonly string[],
  out: readonly string[] | undefined,
): Promise<readonly string[]> {
  const [{ SdkError }, { cameraInfoFormat }] = await Promise.all([
    import('scenebus'),
    import('#calibration/camera/index.js'),
  ]);
  if (sources.length === 0)
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      'Expected pictures, a clip or a camera, or --draw-board FILE, but got neither.',
    );
  if (out === undefined)
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      'Expected --out FILE, which the calibration is written to, but got none.',
    );
  for (const file of out) cameraInfoFormat(file);
  await requirePlaces(out);
  return out;
}

async function requirePlaces(files: readonly string[]): Promise<void> {
  const { SdkError } = await import('scenebus');
  for (const file of files)
    await access(dirname(file), constants.W_OK).catch((cause: NodeJS.ErrnoException) => {
      const reason = cause.code === 'ENOENT' ? 'it is not there' : 'this user may not write there';
      throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a folder for ${file}, but ${reason}.`, { cause });
    });
}

async function collectViews(
  session: CalibrationSession,
  names: readonly string[],
  { size, rotation, seconds }: CalibrateCameraCommandOptions,
  { terminal, signal, stdin }: CommandContext,
): Promise<void> {
  const [{ openSources }, { createCoverageReporter }] = await Promise.all([
    import('../source.js'),
    import('../coverage-output.js'),
  ]);
  const onWarning = (message: string) => terminal.note(message);
  const camera = { ...(size && { size }), ...(rotation && { rotation }) };
  await using sources = await openSources(names, { streamFps: LOOKS_PER_SECOND, camera, signal, stdin, onWarning });
  const untilMs = performance.now() + seconds * 1000;
  let reporter: ReturnType<typeof createCoverageReporter> | undefined;
  for await (const { name, image, isOfStream } of sources.pictures()) {
    const seen = await session.add(image, name, { signal });
    reporter ??= createCoverageReporter(terminal.stderr, isOfStream);
    reporter.seen(seen, session.progress);
    // Pictures that somebody took are all used; a stream ends when there is nothing more to learn from it.
    if (isOfStream && (session.progress.coverage.isEnough || performance.now() > untilMs)) break;
  }
}

function printResult(
  { lens, rmsPixels, views, leftOut, warnings }: CameraCalibration,
  { layout, progress: { pictures, refused } }: CalibrationSession,
  files: readonly string[],
  { out, paint }: Terminal,
): void {
  const { width, height, fx, fy, cx, cy, accuracy } = lens;
  const value = (at: number, sigma = 0) => `${at.toFixed(1)} ± ${sigma.toFixed(1)}`;
  out(`${width}×${height}, ${lens.distortionModel}; ${degreesAcross(lens).toFixed(1)}° across`);
  out(`focal length: ${value(fx, accuracy?.fx)}, ${value(fy, accuracy?.fy)} pixels`);
  out(`axis: ${value(cx, accuracy?.cx)}, ${value(cy, accuracy?.cy)} pixels`);
  out(`corners within ${rmsPixels.toFixed(2)} pixels (RMS) in ${views.length} of ${pictures} pictures`);
  const reasons = Object.entries(refused).map(([reason, count]) => `${count} ${reason}`);
  if (reasons.length > 0) out(`not taken: ${reasons.join(', ')}`);
  if (leftOut.length > 0) out(`left out, as they do not fit the others: ${leftOut.join(', ')}`);
  if (layout !== undefined) out(`layout of the board: ${layout}`);
  for (const warning of warnings) out(paint('yellow', warning));
  for (const file of files) out(`written: ${file}`);
  const name = basename(files[0] ?? '');
  out(`In the camera's configuration: intrinsics: ${name}, and how it is mounted: mounting: { heightMetres: … }`);
}

/** Without what the lens bends: what a person compares with the data sheet. */
function degreesAcross({ width, fx, cx, distortionModel }: CameraLens): number {
  const angle = (pixels: number) => (distortionModel === 'equidistant' ? pixels / fx : Math.atan(pixels / fx));
  return ((angle(cx + 0.5) + angle(width - 0.5 - cx)) * 180) / Math.PI;
}

function collect(file: string, files: readonly string[] = []): readonly string[] {
  return [...files, file];
}

function parseSize(text: string): { width: number; height: number } {
  const [, width, height] = /^(\d{1,5})[x×](\d{1,5})$/.exec(text) ?? [];
  if (width === undefined || height === undefined) throw new InvalidArgumentError('Expected such as 1280x720.');
  return { width: Number(width), height: Number(height) };
}

function parseRotation(text: string): 90 | 180 | 270 {
  const found = ([90, 180, 270] as const).find((degrees) => String(degrees) === text);
  if (found === undefined) throw new InvalidArgumentError('Expected 90, 180 or 270.');
  return found;
}
