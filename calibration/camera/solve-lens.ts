import { SdkError } from '#sdk/core/errors.js';
import { toSdkError } from '#sdk/engine/shared/native-call.js';
import type { CameraLens, DistortionModel } from '#sdk/geometry/lens.js';
import { lensAddon } from '#sdk/native/index.js';
import { nativeBoard } from './board.js';
import type { BoardView, BoardViews } from './board-views.js';
import type { NativeLens } from './lens-addon.js';

export interface CameraCalibration {
  readonly lens: CameraLens;
  /** Of the distances between corners as seen and as computed. */
  readonly rmsPixels: number;
  /** Views that the solution stands on, worst last. */
  readonly views: readonly { readonly name: string; readonly rmsPixels: number; readonly tiltDegrees: number }[];
  /** Views that did not fit the others: wrongly found corners, a bent board. */
  readonly leftOut: readonly string[];
  /** What a user should know: it works, but could be better. */
  readonly warnings: readonly string[];
}

/** Fewer do not separate focal length and distance of the board. */
export const MIN_VIEWS = 5;
/** A view is left out when it fits so much worse than the middle one. */
const OUTLIER_RATIO = 3;
const OUTLIER_PIXELS = 0.5;
const MAX_ROUNDS = 3;
/** Standard deviation of the focal length as a part of it. */
const MAX_FOCAL_SIGMA = 0.01;
const GOOD_FOCAL_SIGMA = 0.005;
const GOOD_RMS_PIXELS = 0.6;
const MAX_RMS_PIXELS = 3;
const GOOD_COVERED = 0.5;

/**
 * The lens of the camera that took the views.
 * @param model `equidistant` for fisheye lenses; `rational_polynomial` for wide ones that are none
 * @throws SdkError ERR_CALIBRATION_FAILED with `details.reason`: too few views, views that are too alike to tell the focal
 *   length, or that do not fit together
 */
export async function solveLens(
  collected: BoardViews,
  model: DistortionModel = 'plumb_bob',
): Promise<CameraCalibration> {
  const size = collected.requireViews(MIN_VIEWS);
  let views = [...collected.views];
  const leftOut: string[] = [];
  let solution = await solve(collected, views, model, size);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const limit = Math.max(OUTLIER_PIXELS, OUTLIER_RATIO * median(solution.viewRmsPixels));
    const { viewRmsPixels } = solution;
    const fitting = views.filter((_, i) => (viewRmsPixels[i] ?? 0) <= limit);
    if (fitting.length === views.length || fitting.length < MIN_VIEWS) break;
    leftOut.push(...views.filter((view) => !fitting.includes(view)).map(({ name }) => name));
    views = fitting;
    solution = await solve(collected, views, model, size);
  }
  requireSense(solution, size, collected.coverage.hint);

  const [fx = 0, fy = 0, cx = 0, cy = 0] = solution.matrix;
  const [sigmaFx = 0, sigmaFy = 0, sigmaCx = 0, sigmaCy = 0] = solution.sigma;
  return {
    lens: {
      ...size,
      fx,
      fy,
      cx,
      cy,
      distortionModel: model,
      distortion: solution.distortion,
      accuracy: { fx: sigmaFx, fy: sigmaFy, cx: sigmaCx, cy: sigmaCy, rms: solution.rmsPixels },
    },
    rmsPixels: solution.rmsPixels,
    views: views
      .map(({ name }, i) => ({
        name,
        rmsPixels: solution.viewRmsPixels[i] ?? 0,
        tiltDegrees: solution.tiltDegrees[i] ?? 0,
      }))
      .sort((a, b) => a.rmsPixels - b.rmsPixels),
    leftOut,
    warnings: warningsOf(solution, collected),
  };
}

async function solve(
  { board }: BoardViews,
  views: readonly BoardView[],
  model: DistortionModel,
  size: { readonly width: number; readonly height: number },
): Promise<NativeLens> {
  try {
    return await lensAddon().solveLens(nativeBoard(board), views, size, model);
  } catch (error) {
    throw toSdkError(error);
  }
}

function requireSense(
  { matrix: [fx = 0, fy = 0, cx = 0, cy = 0], sigma, rmsPixels }: NativeLens,
  { width, height }: { readonly width: number; readonly height: number },
  hint: string,
): void {
  const uncertain = Math.max((sigma[0] ?? 0) / fx, (sigma[1] ?? 0) / fy);
  const advice = hint === '' ? 'Tilt the board more, and bring it nearer.' : `What is missing: ${hint}.`;
  const isInside = cx > 0 && cx < width && cy > 0 && cy < height;
  if (!(uncertain <= MAX_FOCAL_SIGMA) || !isInside)
    throw new SdkError(
      'ERR_CALIBRATION_FAILED',
      `Expected views that tell the focal length to ${MAX_FOCAL_SIGMA * 100} %, but these leave ${(uncertain * 100).toFixed(1)} %${isInside ? '' : ' and put the axis of the lens outside of the picture'}: they are too alike. ${advice}`,
      { details: { reason: 'alike', focalSigma: uncertain, matrix: [fx, fy, cx, cy] } },
    );
  if (rmsPixels > MAX_RMS_PIXELS)
    throw new SdkError(
      'ERR_CALIBRATION_FAILED',
      `Expected corners within ${MAX_RMS_PIXELS} pixels of where this lens shows them, but they are ${rmsPixels.toFixed(1)} away. Is the board flat, and the model of the lens right (a fisheye lens needs equidistant)?`,
      { details: { reason: 'misfit', rmsPixels } },
    );
}

function warningsOf({ matrix, sigma, rmsPixels }: NativeLens, { coverage }: BoardViews): string[] {
  const warnings: string[] = [];
  const uncertain = Math.max((sigma[0] ?? 0) / (matrix[0] ?? 1), (sigma[1] ?? 0) / (matrix[1] ?? 1));
  if (uncertain > GOOD_FOCAL_SIGMA)
    warnings.push(
      `The focal length is known to ${(uncertain * 100).toFixed(1)} % only: more tilted views make it better.`,
    );
  if (rmsPixels > GOOD_RMS_PIXELS)
    warnings.push(
      `Corners are ${rmsPixels.toFixed(2)} pixels from where this lens shows them; ${GOOD_RMS_PIXELS} and less is usual. Is the board flat?`,
    );
  if (coverage.covered < GOOD_COVERED)
    warnings.push(
      `The board was seen in ${Math.round(coverage.covered * 100)} % of the picture: elsewhere the distortion is a guess.`,
    );
  return warnings;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
